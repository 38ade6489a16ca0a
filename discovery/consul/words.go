package consul

import (
	"bytes"
	"mime"
	"strings"
)

// html reports whether the answer is a web page. Consul's interface sends none, whatever goes
// wrong; a proxy, a login page or another program does, with any status.
func (x *exchange) html() bool {
	if x.body == nil {
		return false
	}
	if kind, _, err := mime.ParseMediaType(x.header.Get("Content-Type")); err == nil && kind == "text/html" {
		return true
	}
	return bytes.HasPrefix(bytes.TrimSpace(x.body.kept), []byte("<"))
}

// words returns what Consul says in an answer that is an error: one line that is bounded, fit for
// a log and without the token, which whatever answers may repeat. "" if it says nothing.
func (x *exchange) words() string {
	if x.body == nil {
		return ""
	}
	return printable(x.token.cutFrom(string(x.body.kept)))
}

// quoted returns the words in parentheses, to follow what they explain.
func (x *exchange) quoted() string {
	if words := x.words(); words != "" {
		return " (" + words + ")"
	}
	return ""
}

// tellingPart is how much of a token tells it, in bytes: a text that was cut may end in its middle.
const tellingPart = 8

// cutFrom ends text where it begins to tell s.
func (s secret) cutFrom(text string) string {
	if s == "" {
		return text
	}
	if before, _, found := strings.Cut(text, string(s[:min(len(s), tellingPart)])); found {
		return before + redacted
	}
	return text
}
