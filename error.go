package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkmesh/link/codec"
)

// Error is the error of every operation of link and its patterns.
//
//   - errors.Is(err, link.NotFound) tests the code.
//   - errors.Is(err, context.DeadlineExceeded) and context.Canceled hold for the
//     two codes of the same meaning.
//   - errors.As(err, &detail) finds a detail whose type implements error;
//     [DetailOf] finds any.
type Error struct {
	Code    Code
	Op      string // what was tried, "call orders/get"; "" if there is nothing to add
	Peer    string // who answered or was tried, "orders-01k… at 10.0.0.5:7443"; "" if nobody
	Attempt int    // attempts that were made; 0 and 1 are not shown
	Message string // for people
	Remote  bool   // the peer decided this, not this side
	ID      string // marks the cause in the peer's log, for an error that has no code
	// RetryAfter is how long the peer asks to wait before another try; 0 says
	// nothing.
	RetryAfter time.Duration
	Details    []Detail
	Cause      error // on this side only; not sent
}

// Error implements error: what was tried, the code, what happened, and at which peer.
func (e *Error) Error() string {
	if e == nil {
		return textOfNil
	}
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	code := normal(e.Code).String()
	b.WriteString(code)
	if e.Message != "" && e.Message != code {
		b.WriteString(": " + e.Message)
	}
	if e.ID != "" {
		b.WriteString(" (error ID " + e.ID + ")")
	}
	if e.Peer != "" {
		b.WriteString(" [" + e.Peer + "]")
	}
	if e.Attempt > 1 {
		fmt.Fprintf(&b, " after %d attempts", e.Attempt)
	}
	return b.String()
}

// textOfNil is what a nil pointer says that was returned as an error, as a function that
// returns *Error makes it.
const textOfNil = "a nil *link.Error was returned as an error"

// SpanDescription implements tracing.Describer: the message alone, which was
// written to be shown, without the addresses in it.
func (e *Error) SpanDescription() string {
	if e == nil {
		return textOfNil
	}
	return withoutAddresses(e.Message)
}

// withoutAddresses is a text with "…" in the place of each address and host:port.
func withoutAddresses(text string) string {
	var b strings.Builder
	for text != "" {
		n := strings.IndexAny(text, ` /=,;"'()`)
		if n == 0 {
			b.WriteByte(text[0])
			text = text[1:]
			continue
		}
		if n < 0 {
			n = len(text)
		}
		b.WriteString(withoutAddress(text[:n]))
		text = text[n:]
	}
	return b.String()
}

// withoutAddress is withoutAddresses of one word, which may have a mark behind it and brackets
// around it.
func withoutAddress(word string) string {
	core := strings.TrimRight(word, ":.!?")
	for _, w := range []string{word, core, strings.TrimPrefix(core, "["), strings.TrimSuffix(core, "]"), strings.Trim(core, "[]")} {
		if isAddress(w) {
			return strings.Replace(word, w, "…", 1)
		}
	}
	return word
}

func isAddress(word string) bool {
	if _, err := netip.ParseAddr(word); err == nil {
		return true
	}
	host, port, err := net.SplitHostPort(word)
	if err != nil || host == "" {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Cause
}

// Is reports whether target is the code of e, or the context error that means
// the same.
func (e *Error) Is(target error) bool {
	if e == nil {
		return false
	}
	if c, ok := target.(Code); ok {
		return c == normal(e.Code)
	}
	return e.Code == DeadlineExceeded && target == context.DeadlineExceeded ||
		e.Code == Canceled && target == context.Canceled
}

// Errorf returns an error with a code and a message that the peer may read.
// Like fmt.Errorf it takes %w, whose error becomes the Cause and stays on this
// side.
func Errorf(code Code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: normal(code), Message: err.Error(), Cause: errors.Unwrap(err)}
}

func normal(c Code) Code {
	if c == 0 || c > Unauthenticated {
		return Unknown
	}
	return c
}

// CodeOf returns the code of err: that of the [*Error] or Code in its chain;
// the code of a context error; [ResourceExhausted] of a message beyond the
// limits of the codec, [Internal] of a [*PanicError] and of an error whose methods
// panic; and otherwise [Unknown]. CodeOf(nil) is [OK].
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	return codeOf(err)
}

func codeOf(err error) (code Code) {
	defer func() {
		if recover() != nil { // the methods of an error are the user's code, and may be asked where nobody else recovers
			code = Internal
		}
	}()
	var e *Error
	var c Code
	switch {
	case errors.As(err, &e) && e != nil:
		return normal(e.Code)
	case errors.As(err, &c):
		return normal(c)
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return Canceled
	case isA[*codec.LimitError](err):
		return ResourceExhausted
	case isA[*PanicError](err):
		return Internal
	default:
		return Unknown
	}
}

// isA reports whether there is an error of type E in the chain of err.
func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// uncoded returns an error of the codec with a code: its own, if a limit was
// exceeded, or another.
func uncoded(err error, code Code, format string, args ...any) error {
	if isA[*codec.LimitError](err) {
		code = ResourceExhausted
	}
	return Errorf(code, format+": %w", append(args, err)...)
}

// failed returns err as an *Error with the operation, for the public functions
// of this package.
func failed(op string, err error) *Error {
	e, ok := err.(*Error) //nolint:errorlint // one that is wrapped keeps the text around it
	if ok && e == nil {   // a pointer in an interface, as a function that returns *Error makes it
		return &Error{Code: Unknown, Op: op, Message: textOfNil}
	}
	if ok {
		out := *e
		if out.Op == "" {
			out.Op = op
		}
		return &out
	}
	return &Error{Code: CodeOf(err), Op: op, Message: strings.ReplaceAll(textOf(err), "\n", "; "), Cause: err}
}

// textOf is the text of an error, whose methods may panic.
func textOf(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("an error of type %T whose Error panics", err)
		}
	}()
	return err.Error()
}

// joined is errors.Join that leaves a single error as it is.
func joined(errs ...error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}
