package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// Error says why a call reached no instance. Package link makes its own error of it, with the same fields.
type Error struct {
	// Code is one of package codes.
	Code uint32
	// Peer is the instance that was tried, "" if there is none.
	Peer    string
	Message string
	// Cause is the error behind this one, nil if there is none.
	Cause error
	// Attempt is the number of attempts that were made before.
	Attempt int
}

// Error implements error. The text is that of package link's error.
func (e *Error) Error() string {
	text := codes.Words(e.Code)
	if e.Message != "" && e.Message != text {
		text += ": " + e.Message
	}
	if e.Peer != "" {
		text += " [" + e.Peer + "]"
	}
	if e.Attempt > 1 {
		text += fmt.Sprintf(" after %d attempts", e.Attempt)
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// errorf returns an error with a code. Like fmt.Errorf it takes %w, whose error becomes the cause.
func errorf(code uint32, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// errClosed is the error of everything that is asked of the router of a closed node.
var errClosed = &Error{Code: codes.Unavailable, Message: "the node is closed"}

// ended returns the code of the error of a context that has ended.
func ended(ctx context.Context) uint32 {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return codes.DeadlineExceeded
	}
	return codes.Canceled
}

// FromTransport returns the error of an instance's connection with its code.
func FromTransport(err error, in discovery.Instance) *Error {
	out := &Error{Code: codes.Unavailable, Message: err.Error(), Peer: in.ID + " at " + in.Addr, Cause: err}
	var te *transport.Error
	if !errors.As(err, &te) {
		return out
	}
	out.Message = te.Reason.String()
	if te.Detail != "" {
		out.Message += ": " + te.Detail
	}
	if te.Err != nil {
		out.Message += ": " + foreign.Text(te.Err.Error())
	}
	switch {
	case te.Reason == transport.ReasonCanceled && te.Err != nil:
		out.Message = cmp.Or(te.Detail, "while waiting for the reply") + ": " + te.Err.Error()
	case te.Reason == transport.ReasonReset && te.Code == wire.CodeInternal:
		out.Message = "the handler ended without an answer; the log of that process says more"
	}
	out.Code = codeOfTransport(te)
	return out
}

// codeOfTransport returns the code of an error of a connection.
func codeOfTransport(te *transport.Error) uint32 {
	switch te.Reason { //nolint:exhaustive // the rest is Unavailable
	case transport.ReasonCanceled:
		if te.OutOfTime() {
			return codes.DeadlineExceeded
		}
		return codes.Canceled
	case transport.ReasonReset:
		switch te.Code { //nolint:exhaustive // the rest is Unavailable
		case wire.CodeCanceled:
			return codes.Canceled
		case wire.CodeDeadline:
			return codes.DeadlineExceeded
		case wire.CodeInternal:
			return codes.Internal
		}
	case transport.ReasonRejected, transport.ReasonIdentity:
		return codes.Unauthenticated
	case transport.ReasonIncompatible, transport.ReasonForbidden:
		return codes.FailedPrecondition
	case transport.ReasonProtocol:
		return codes.Internal
	case transport.ReasonLimit, transport.ReasonOverloaded:
		return codes.ResourceExhausted
	}
	return codes.Unavailable
}
