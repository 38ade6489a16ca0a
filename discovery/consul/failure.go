package consul

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/hashicorp/consul/api"
)

// kind sorts failures by what to do about them.
type kind string

const (
	unreachable kind = "unreachable" // no answer came: the agent may have restarted
	hanging     kind = "hanging"     // the answer did not come in time
	busy        kind = "busy"        // 429: the agent's limits
	denied      kind = "denied"      // 403
	missing     kind = "missing"     // 404
	refused     kind = "refused"     // another 4xx: asking again will not mend it
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
	switch f.kind { //nolint:exhaustive // the others are no error of the package
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

// explain says what became of an exchange that ended with err.
func explain(p errand, x *exchange, err error) *failure {
	f := &failure{what: p.what}
	switch {
	case x.status == 0:
		f.kind, f.reason = unreachable, "the agent cannot be reached: "+transportReason(err)
		if errors.Is(err, context.DeadlineExceeded) {
			f.kind, f.reason = hanging, "no answer in time; is the agent stuck?"
		}
	case x.status == http.StatusForbidden:
		f.kind, f.reason = denied, "the ACL token does not allow it"+quoted(err)
		if x.token == "" {
			f.reason = "Consul wants an ACL token, and none is set" + quoted(err)
		}
		if p.needs != "" {
			f.reason += "; it needs: " + p.needs
		}
	case x.status == http.StatusNotFound:
		f.kind, f.reason = missing, "Consul does not know it"+quoted(err)
	case x.status == http.StatusTooManyRequests:
		f.kind, f.reason = busy, "the agent has too many connections or requests (429); see its http_max_conns_per_client"
	case x.status >= http.StatusInternalServerError:
		f.kind, f.reason = erring, "Consul answers "+strconv.Itoa(x.status)+quoted(err)
	case x.status >= http.StatusMultipleChoices:
		f.kind, f.reason = refused, "Consul answers "+strconv.Itoa(x.status)+quoted(err)
	case errors.Is(err, context.DeadlineExceeded):
		f.kind, f.reason = hanging, "the answer began and did not end in time"
	default:
		f.kind, f.reason = garbled, "the answer is not one of Consul: "+decodeReason(err)
	}
	return f
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

// quoted returns what Consul said, fit for a log line.
func quoted(err error) string {
	var status api.StatusError
	if !errors.As(err, &status) || status.Body == "" {
		return ""
	}
	return " (" + printable(status.Body) + ")"
}

// maxQuoted bounds how much of a foreign text a message repeats, in bytes.
const maxQuoted = 200

func printable(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	if len(s) > maxQuoted {
		s = s[:maxQuoted] + "…"
	}
	q := strconv.QuoteToASCII(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
