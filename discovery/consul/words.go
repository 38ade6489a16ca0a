package consul

import (
	"bytes"
	"mime"
	"strings"
)

// html reports whether the answer is a web page. Consul's API never sends one, but a proxy, a login
// page or another program does, with any status.
func (x *exchange) html() bool {
	if x.body == nil {
		return false
	}
	if kind, _, err := mime.ParseMediaType(x.header.Get("Content-Type")); err == nil && kind == "text/html" {
		return true
	}
	return bytes.HasPrefix(bytes.TrimSpace(x.body.kept), []byte("<"))
}

// words returns the message of an error answer: one bounded line, escaped for a log, without the
// token, which a server might echo. It returns "" if there is no message.
func (x *exchange) words() string {
	if x.body == nil {
		return ""
	}
	return printable(x.token.cutFrom(string(x.body.kept)))
}

// quoted returns the message in parentheses with a leading space, or "" if there is none.
func (x *exchange) quoted() string {
	if words := x.words(); words != "" {
		return " (" + words + ")"
	}
	return ""
}

// tellingPart is the number of bytes of a token that are recognized as the token: a truncated text
// may end in the middle of it.
const tellingPart = 8

// cutFrom truncates text where it begins to reveal s.
func (s secret) cutFrom(text string) string {
	if s == "" {
		return text
	}
	if before, _, found := strings.Cut(text, string(s[:min(len(s), tellingPart)])); found {
		return before + redacted
	}
	return text
}
