package link

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"
	"time"

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

// ErrProcessGone is part of the error of a call or stream whose connection ended because
// the process of the peer ended: its host reported that nothing listens at its port any
// more, or another instance announced that it is at that address and this one does not
// answer. What the peer ran has ended, and will not come back. A process that has
// restarted, or has given up the connection, may answer first that it does not know the
// connection. That says nothing about what ran, so such an error is not ErrProcessGone.
var ErrProcessGone = transport.ErrGone

// maxRetryAfter bounds the milliseconds that a peer may ask to wait, so that they fit a
// time.Duration.
const maxRetryAfter = 1 << 40

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

// statusOn is status, except that a call that failed because this node canceled its
// handlers is Unavailable: the caller did not cancel it, and others may serve it.
func (n *Node) statusOn(s *transport.Session, r Route, err error) (status wire.Status) {
	// The methods of an error are user code, too.
	defer func() {
		if p := recover(); p != nil {
			status = n.internal(r, panicked(p))
		}
	}()
	if err != nil && s.Handlers().Err() != nil && (CodeOf(err) == Canceled || errors.Is(err, ErrDraining)) {
		return wire.Status{Code: uint64(Unavailable), Message: "the node ended while the handler ran"}
	}
	return n.status(r, err)
}

// status turns a handler's error into what the caller gets. The text of an error
// without a code is only logged here; the caller gets an ID that finds it in the log.
func (n *Node) status(r Route, err error) wire.Status {
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
				n.cfg.Logger.Warn("link: error details are too large, leaving some out", "route", r.String(), "limit", maxStatus)
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
	return n.internal(r, err)
}

// internal logs an error whose text the caller must not see, and returns what the caller gets.
func (n *Node) internal(r Route, err error) wire.Status {
	id := errorID()
	n.cfg.Logger.Error("link: handler failed", "route", r.String(), "error_id", id, "error", printable{err})
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
