package link

import (
	"cmp"
	"errors"
	"time"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// fromTransport turns a transport error into an *Error with its code.
func fromTransport(err error, in *instance) *Error {
	out := &Error{Code: Unavailable, Message: err.Error(), Peer: in.ID + " at " + in.Addr, Cause: err}
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
	switch te.Reason { //nolint:exhaustive // the rest is Unavailable
	case transport.ReasonCanceled:
		if te.Err != nil {
			out.Message = cmp.Or(te.Detail, "while waiting for the reply") + ": " + te.Err.Error()
		}
		out.Code = Canceled
		if te.OutOfTime() {
			out.Code = DeadlineExceeded
		}
	case transport.ReasonReset:
		switch te.Code { //nolint:exhaustive // the rest is Unavailable
		case wire.CodeCanceled:
			out.Code = Canceled
		case wire.CodeDeadline:
			out.Code = DeadlineExceeded
		case wire.CodeInternal:
			out.Code = Internal
			out.Message = "the handler ended without an answer; the log of that process says more"
		}
	case transport.ReasonRejected, transport.ReasonIdentity:
		out.Code = Unauthenticated
	case transport.ReasonIncompatible, transport.ReasonForbidden:
		out.Code = FailedPrecondition
	case transport.ReasonProtocol:
		out.Code = Internal
	case transport.ReasonLimit, transport.ReasonOverloaded:
		out.Code = ResourceExhausted
	}
	return out
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
