package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// kind sorts failures by what to do about them.
type kind string

const (
	unreachable kind = "unreachable" // no answer came: the agent may have restarted
	hanging     kind = "hanging"     // the answer did not come in time
	busy        kind = "busy"        // 429: the agent's limits
	denied      kind = "denied"      // 403
	missing     kind = "missing"     // 404
	refused     kind = "refused"     // another 4xx: asking again will not help
	erring      kind = "erring"      // 5xx
	garbled     kind = "garbled"     // not what Consul answers
	hidden      kind = "hidden"      // access rules have thinned the answer
)

// failure is an exchange that gave nothing usable.
type failure struct {
	kind   kind
	what   string
	reason string
}

func (f *failure) Error() string { return "consul: " + f.what + ": " + f.reason }

// Unwrap returns the error of the package that the failure is.
func (f *failure) Unwrap() error {
	switch f.kind { //nolint:exhaustive // the package has no error for the others
	case denied, hidden:
		return ErrDenied
	case refused, missing:
		return nil
	default:
		return ErrUnavailable
	}
}

// kindOf returns the kind of a failure, never "".
func kindOf(err error) kind {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.kind
	}
	return erring
}

// reasonOf returns what went wrong without what it was for.
func reasonOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	return err.Error()
}

// explain says what became of an exchange that ended with err, or with an answer in HTML.
func (c *client) explain(p errand, x *exchange, err error) *failure {
	f := &failure{what: p.what}
	status := strconv.Itoa(x.status)
	switch {
	case x.status == 0:
		f.kind, f.reason = unreachable, "the agent at "+c.address+" cannot be reached: "+transportReason(err)
		if errors.Is(err, context.DeadlineExceeded) {
			f.kind, f.reason = hanging, "no answer in time from "+c.address+"; is the agent stuck?"
		}
	case x.html():
		f.kind, f.reason = garbled, c.stranger()+"it answers "+status+" with HTML"
		switch { // a proxy in front of an agent
		case x.status == http.StatusTooManyRequests:
			f.kind = busy
		case x.status >= http.StatusInternalServerError:
			f.kind = erring
		}
	case x.status == http.StatusForbidden:
		f.kind, f.reason = denied, c.tokens.refusal(x.token, x.words())
		if p.needs != "" {
			f.reason += "; it needs: " + p.needs
		}
	case x.status == http.StatusNotFound:
		f.kind, f.reason = missing, "Consul does not know it"+x.quoted()
	case x.status == http.StatusTooManyRequests:
		f.kind = busy
		f.reason = "the agent has too many connections or requests (429)" + x.quoted() + "; see its http_max_conns_per_client"
	case x.status >= http.StatusInternalServerError:
		f.kind, f.reason = erring, "Consul answers "+status+x.quoted()
	case x.status >= http.StatusMultipleChoices:
		f.kind, f.reason = refused, "Consul answers "+status+x.quoted()
	case errors.Is(err, context.DeadlineExceeded):
		f.kind, f.reason = hanging, "the answer began and did not end in time"
	default:
		f.kind, f.reason = garbled, "the answer is not one of Consul: "+decodeReason(err)
	}
	return f
}

// stranger begins the reason of an answer that no Consul gives.
func (c *client) stranger() string { return "what answers at " + c.address + " is not Consul: " }

// advised returns the error of Register with what to do next, where the address may be wrong.
func (c *client) advised(err error) error {
	switch kindOf(err) { //nolint:exhaustive // the others say themselves what to do
	case unreachable, hanging, garbled:
		return fmt.Errorf("%w; %s", err, c.advice)
	default:
		return err
	}
}

// transportReason leaves out what differs each time, such as the port of this side, and what is
// known, such as the URL.
func transportReason(err error) string {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if oe, ok := errors.AsType[*net.OpError](err); ok {
		return oe.Op + ": " + oe.Err.Error()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "it closed the connection"
	}
	return printable(err.Error())
}

func decodeReason(err error) string {
	switch {
	case errors.Is(err, errTooLarge):
		return errTooLarge.Error()
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "it ends in the middle"
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		return "it is not JSON"
	}
	if te, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return "it holds a JSON " + te.Value + " in a wrong place"
	}
	return printable(err.Error())
}

// maxQuoted bounds how much of a foreign text a message repeats, in bytes.
const maxQuoted = 200

// printable returns the first line of a foreign text, fit for a log.
func printable(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	more := ""
	if len(s) > maxQuoted {
		s, more = s[:maxQuoted], "…"
	}
	q := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) + more
}

// refusedWhole reports whether err says that the agent has not done what was asked, and will not.
func refusedWhole(err error) bool {
	switch kindOf(err) { //nolint:exhaustive // in the other cases it may
	case denied, missing, refused, busy:
		return true
	default:
		return false
	}
}
