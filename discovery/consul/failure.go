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

	"github.com/linkmesh/link/discovery"
)

// kind classifies failures by the reaction to them.
type kind string

const (
	unreachable kind = "unreachable" // no answer: the agent may have restarted
	hanging     kind = "hanging"     // no answer in time
	busy        kind = "busy"        // 429: the agent's limits
	denied      kind = "denied"      // 403
	missing     kind = "missing"     // 404
	refused     kind = "refused"     // another 4xx: a retry will not help
	erring      kind = "erring"      // 5xx
	garbled     kind = "garbled"     // not an answer of Consul
	hidden      kind = "hidden"      // ACLs have filtered the answer
)

// failure is the error of an exchange without a usable answer.
type failure struct {
	kind   kind
	what   string
	reason string
}

func (f *failure) Error() string { return "consul: " + f.what + ": " + f.reason }

// Unwrap returns ErrDenied, discovery.ErrUnavailable or nil, depending on the kind.
func (f *failure) Unwrap() error {
	switch f.kind { //nolint:exhaustive // the package has no error for the others
	case denied, hidden:
		return ErrDenied
	case refused, missing:
		return nil
	default:
		return discovery.ErrUnavailable
	}
}

// kindOf returns the kind of err, or erring if err is not a failure.
func kindOf(err error) kind {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.kind
	}
	return erring
}

// reasonOf returns the reason of a failure without the operation that failed.
func reasonOf(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	return err.Error()
}

// explain returns the failure of an exchange that ended with err or with an HTML answer.
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
		// The answer may come from a proxy in front of an agent.
		switch {
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

// stranger returns the beginning of the reason for an answer that is not from Consul.
func (c *client) stranger() string { return "what answers at " + c.address + " is not Consul: " }

// advised adds advice to an error of Register if the address may be wrong.
func (c *client) advised(err error) error {
	switch kindOf(err) { //nolint:exhaustive // the others say themselves what to do
	case unreachable, hanging, garbled:
		return fmt.Errorf("%w; %s", err, c.advice)
	default:
		return err
	}
}

// transportReason returns the reason of a transport error without parts that differ each time, such
// as the local port, or that are known, such as the URL.
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

// maxQuoted is the number of bytes of an untrusted text that a message repeats at most.
const maxQuoted = 200

// printable returns the first line of an untrusted text, escaped and shortened for a log.
func printable(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	more := ""
	if len(s) > maxQuoted {
		s, more = s[:maxQuoted], "…"
	}
	q := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`) + more
}

// refusedWhole reports whether err means that the agent has not executed the request, and will not.
func refusedWhole(err error) bool {
	switch kindOf(err) { //nolint:exhaustive // in the other cases it may
	case denied, missing, refused, busy:
		return true
	default:
		return false
	}
}
