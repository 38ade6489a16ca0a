package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/transport"
)

// Error is the error of every operation of link and its patterns.
//
//   - errors.Is(err, link.NotFound) tests the code.
//   - errors.Is(err, context.DeadlineExceeded) and context.Canceled hold for the
//     two codes of the same meaning.
//   - errors.As(err, &detail) finds a detail whose type implements error;
//     [DetailOf] finds any.
type Error struct {
	Code Code
	// Op is the operation that failed, "call orders/get"; "" if there is nothing to
	// add.
	Op string
	// Peer is the peer that answered or was tried, "orders-01k… at 10.0.0.5:7443";
	// "" if there is none.
	Peer string
	// Attempt is the number of attempts. The text shows it if it is above 1.
	Attempt int
	// Message is text for people.
	Message string
	// Remote means that the peer decided this, not this side.
	Remote bool
	// ID finds the cause in the peer's log, for an error without a code.
	ID string
	// RetryAfter is how long the peer asks to wait before another try; 0 means that
	// it does not say.
	RetryAfter time.Duration
	Details    []Detail
	// Cause is the error behind this one. It stays on this side.
	Cause error
}

// Detail is a typed part of an [Error]. It crosses the wire as CBOR under the
// name of its type.
type Detail struct {
	// Type is the type's package and name, "shop.QuotaExceeded".
	Type string
	// Data is the value encoded as CBOR.
	Data []byte
}

// Error implements error. The text names the operation, the code, what happened, and the peer.
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

// textOfNil is the text of a nil *Error in an error interface, which comes from functions
// that are declared to return *Error.
const textOfNil = "a nil *link.Error was returned as an error"

// SpanDescription implements tracing.Describer. It returns the message alone, which
// was written to be shown, with its addresses removed.
func (e *Error) SpanDescription() string {
	if e == nil {
		return textOfNil
	}
	return withoutAddresses(e.Message)
}

// withoutAddresses returns text with "…" in place of each address and host:port.
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

// withoutAddress is withoutAddresses for one word, which may be followed by punctuation and
// enclosed in brackets.
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

// Is reports whether target is the code of e, or the context error with the same
// meaning.
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

// CodeOf returns the code of err: the code of the [*Error] or the Code in its
// chain, or the code of a context error; [ResourceExhausted] for a message beyond the
// limits of the codec; [Internal] for a [*PanicError] or an error whose methods panic;
// otherwise [Unknown]. CodeOf(nil) is [OK].
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	return codeOf(err)
}

func codeOf(err error) (code Code) {
	// The methods of an error are user code, and may run where nothing else recovers.
	defer func() {
		if recover() != nil {
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

// uncoded gives an error of the codec a code: ResourceExhausted if a limit was
// exceeded, else code. err becomes the last argument of format.
func uncoded(err error, code Code, format string, args ...any) error {
	if isA[*codec.LimitError](err) {
		code = ResourceExhausted
	}
	return Errorf(code, format+": %w", append(args, err)...)
}

// failed returns err as an *Error with the operation, for the public functions
// of this package. An operation that err has already is kept.
func failed(op string, err error) *Error {
	e, ok := err.(*Error) //nolint:errorlint // one that is wrapped keeps the text around it
	if ok && e == nil {
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

// textOf returns the text of an error, whose methods may panic.
func textOf(err error) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("an error of type %T whose Error panics", err)
		}
	}()
	return err.Error()
}

// joined is errors.Join, except that it returns a single error as it is.
func joined(errs ...error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// PanicError is the error that the server's middleware gets for a panic of a handler. The caller gets [Internal]
// and an ID that finds the rest in the log.
type PanicError struct {
	// Value is what the handler panicked with.
	Value any
	// Stack is the stack of the goroutine.
	Stack []byte
}

// Error returns the value and the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

func panicked(value any) error { return &PanicError{value, debug.Stack()} }

// The causes with which the context of a handler ends, as returned by context.Cause.
var (
	// ErrCallerGone means that the caller canceled, or that its connection ended.
	// If its process ended, the cause is also ErrProcessGone.
	ErrCallerGone = errors.New("the caller is gone")
	// ErrDeadline means that the deadline that the caller sent, or
	// Limits.MaxCallTime, has passed.
	ErrDeadline = errors.New("the deadline of the call has passed")
	// ErrDraining means that the time for the drain of the node is over.
	ErrDraining = errors.New("the node is draining")
	// ErrFinished means that the handler has returned. What outlives a handler must
	// not use its context.
	ErrFinished = errors.New("the handler has returned")
)

// ErrProcessGone is part of the error of a call or stream whose connection ended because
// the process of the peer ended: its host reported that nothing listens at its port any
// more, or another instance announced that it is at that address and this one does not
// answer. What the peer ran has ended, and will not come back. A process that has
// restarted, or has given up the connection, may answer first that it does not know the
// connection. That says nothing about what ran, so such an error is not ErrProcessGone.
var ErrProcessGone = transport.ErrGone

// Code says what kind of failure an error is. The codes, their numbers and
// meanings are gRPC's.
//
// A Code is an error, so that errors.Is(err, link.NotFound) works on both sides
// of the wire and a handler may return a bare code. [CodeOf] returns [OK] for
// nil, for logs and metrics. An error never has it: a handler that returns
// link.OK, or an [*Error] without a code, has failed with [Unknown].
type Code uint32

// The codes.
const (
	OK                 Code = 0  // no error
	Canceled           Code = 1  // the caller gave up
	Unknown            Code = 2  // an error without a better code
	InvalidArgument    Code = 3  // the request is wrong in any state of the system
	DeadlineExceeded   Code = 4  // out of time; the call may have run
	NotFound           Code = 5  // the requested entity does not exist
	AlreadyExists      Code = 6  // the entity to create exists already
	PermissionDenied   Code = 7  // the caller is known but not allowed
	ResourceExhausted  Code = 8  // a quota or limit is used up
	FailedPrecondition Code = 9  // the system is not in the state that the call needs
	Aborted            Code = 10 // a conflict; retry at a higher level
	OutOfRange         Code = 11 // past the end
	Unimplemented      Code = 12 // the service has no such route
	Internal           Code = 13 // an invariant is broken
	Unavailable        Code = 14 // cannot be served now; a retry may help
	DataLoss           Code = 15 // data is lost or damaged
	Unauthenticated    Code = 16 // the caller is not known
)

// String returns the code in words, "not found".
func (c Code) String() string { return codes.Words(uint32(c)) }

// Error implements error.
func (c Code) Error() string { return c.String() }
