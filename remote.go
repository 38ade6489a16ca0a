package link

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// fromRouter returns an error of the router as an *Error.
func fromRouter(e *router.Error) *Error {
	return &Error{Code: Code(e.Code), Peer: e.Peer, Attempt: e.Attempt, Message: e.Message, Cause: e.Cause}
}

// routed returns the error of a function of the router for this package: its own errors become an *Error, and those
// that it was given are returned as they are.
func routed(err error) error {
	if e, ok := err.(*router.Error); ok { //nolint:errorlint // the errors of the router are not wrapped
		return fromRouter(e)
	}
	return err
}

// maxRetryAfter bounds the milliseconds that a peer may ask to wait, so that they fit a
// time.Duration.
const maxRetryAfter = 1 << 40

// printable keeps an error that cannot print itself, such as a nil pointer, from
// ending the process.
type printable struct{ err error }

// maxStatus bounds the bytes of the message and the details of a STATUS; the rest
// of wire.MaxHeader is for reply metadata.
const maxStatus = 7 << 10

// fromStatus returns the error that a peer sent.
func fromStatus(s *wire.Status, peer string) *Error {
	e := &Error{
		Code: normal(Code(min(s.Code, uint64(Unauthenticated)+1))), Peer: peer, Message: foreign.Text(s.Message), Remote: true, ID: foreign.Text(s.ErrorID),
		RetryAfter: time.Duration(min(s.RetryAfter, maxRetryAfter)) * time.Millisecond,
	}
	for _, d := range s.Details {
		d.Type = foreign.Text(d.Type)
		e.Details = append(e.Details, Detail(d))
	}
	return e
}

// detailCodec encodes details, whatever codec the node uses.
var detailCodec = codec.CBOR() //nolint:gochecknoglobals // immutable; it keeps what it learns of types

// WithDetails returns err, which must hold an [*Error] or a [Code], with
// details that the peer can read with [DetailOf] and, if their types implement
// error, with errors.As. If a detail has no CBOR encoding, it returns err joined
// with an error that says so.
func WithDetails(err error, details ...any) error {
	e := failed("", err)
	if inner, ok := errors.AsType[*Error](err); ok && inner != nil {
		e.Details = slices.Clone(inner.Details)
	}
	for _, d := range details {
		data, cerr := detailCodec.Append(nil, d)
		if cerr != nil {
			return errors.Join(err, cerr)
		}
		e.Details = append(e.Details, Detail{Type: detailName(reflect.TypeOf(d)), Data: data})
	}
	return e
}

// DetailOf returns the first detail of type T in err.
func DetailOf[T any](err error) (T, bool) {
	var v T
	var e *Error
	ok := errors.As(err, &e) && e != nil && e.detail(reflect.TypeFor[T](), &v)
	return v, ok
}

// As lets errors.As find a detail whose type implements error.
func (e *Error) As(target any) bool {
	if e == nil || len(e.Details) == 0 {
		return false
	}
	return e.detail(reflect.TypeOf(target).Elem(), target)
}

// detail decodes the detail of type t into target, which points to a t. A pointer
// type travels under the name of the type that it points to.
func (e *Error) detail(t reflect.Type, target any) bool {
	name := detailName(t)
	for _, d := range e.Details {
		if d.Type == name {
			return detailCodec.Decode(d.Data, target) == nil
		}
	}
	return false
}

func detailName(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "nil"
	}
	return t.String()
}

// statusOn is statusOf, except that a call that failed because this node canceled its
// handlers is Unavailable: the caller did not cancel it, and others may serve it.
func statusOn(log *slog.Logger, s *transport.Session, r Route, err error) (status wire.Status) {
	// The methods of an error are user code, too.
	defer func() {
		if p := recover(); p != nil {
			status = internal(log, r, panicked(p))
		}
	}()
	if err != nil && s.Handlers().Err() != nil && (CodeOf(err) == Canceled || errors.Is(err, ErrDraining)) {
		return wire.Status{Code: uint64(Unavailable), Message: "the node ended while the handler ran"}
	}
	return statusOf(log, r, err)
}

// statusOf turns a handler's error into what the caller gets. The text of an error
// without a code is only logged here; the caller gets an ID that finds it in the log.
func statusOf(log *slog.Logger, r Route, err error) wire.Status {
	if err == nil {
		return wire.Status{}
	}
	var e *Error
	var code Code
	switch {
	// A panic is internal, whatever error wraps it.
	case isA[*PanicError](err):
	case errors.As(err, &e) && e != nil:
		s := wire.Status{
			Code: uint64(normal(e.Code)), Message: clip(e.Message, wire.MaxText), ErrorID: clip(e.ID, wire.MaxName),
			RetryAfter: uint64(max(e.RetryAfter.Milliseconds(), 0)),
		}
		size := len(s.Message)
		for _, d := range e.Details {
			if size += len(d.Type) + len(d.Data) + 8; len(s.Details) == wire.MaxDetails || size > maxStatus || clip(d.Type, wire.MaxName) != d.Type {
				log.Warn("link: error details are too large; some were left out", "route", r.String(), "limit", maxStatus)
				break
			}
			s.Details = append(s.Details, wire.Detail(d))
		}
		return s
	case errors.As(err, &code):
		return wire.Status{Code: uint64(normal(code)), Message: normal(code).String()}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrDeadline):
		return wire.Status{Code: uint64(DeadlineExceeded), Message: ErrDeadline.Error()}
	case errors.Is(err, context.Canceled), errors.Is(err, ErrCallerGone):
		return wire.Status{Code: uint64(Canceled), Message: "the handler was canceled"}
	}
	return internal(log, r, err)
}

// internal logs an error whose text the caller must not see, and returns what the caller gets.
func internal(log *slog.Logger, r Route, err error) wire.Status {
	id := errorID()
	log.Error("link: handler failed", "route", r.String(), "error_id", id, "error", printable{err})
	return wire.Status{Code: uint64(Internal), Message: "the handler failed", ErrorID: id, Broken: isA[*PanicError](err)}
}

// LogValue implements slog.LogValuer.
func (p printable) LogValue() slog.Value { return slog.StringValue(textOf(p.err)) }

func clip(s string, limit int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

func errorID() string {
	var b [8]byte
	// Read of crypto/rand never fails.
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
