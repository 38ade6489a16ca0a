package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// Reason is a closed set of reasons why something failed, for code to act on.
type Reason uint8

// The reasons.
const (
	// ReasonUnreachable means that there is no connection: nobody answered, or the address is wrong.
	ReasonUnreachable Reason = iota
	// ReasonIncompatible means that the peer speaks none of our versions.
	ReasonIncompatible
	// ReasonRejected means that the peer did not accept our certificate.
	ReasonRejected
	// ReasonIdentity means that the peer's certificate is not the one expected.
	ReasonIdentity
	// ReasonRefused means that the peer or the connection took no call. No handler saw it.
	ReasonRefused
	// ReasonOverloaded is like ReasonRefused, because a limit is reached.
	ReasonOverloaded
	// ReasonDraining means that the peer drains and takes no new call.
	ReasonDraining
	// ReasonReset means that the peer reset the stream.
	ReasonReset
	// ReasonLost means that the connection ended.
	ReasonLost
	// ReasonProtocol means that bytes came that link/1 does not allow.
	ReasonProtocol
	// ReasonLimit means that a size, rate or credit was exceeded.
	ReasonLimit
	// ReasonForbidden means that Config.MayDial refuses the address.
	ReasonForbidden
	// ReasonCanceled means that the caller's context ended.
	ReasonCanceled
	// ReasonClosed means that this endpoint closed.
	ReasonClosed
	// ReasonDoubt means that the peer is silent and may be gone, and that the call may leave it.
	ReasonDoubt
)

// String returns the reason in words.
func (r Reason) String() string {
	return [...]string{
		"unreachable", "incompatible protocol", "rejected by peer", "wrong identity", "refused", "overloaded", "draining",
		"reset by peer", "connection lost", "protocol violation", "limit exceeded", "forbidden address", "canceled", "closed", "in doubt",
	}[r]
}

// Error is the error of every failing operation of this package.
type Error struct {
	Reason Reason
	// Peer is the address of the peer, "" if there is none yet.
	Peer string
	// Detail says in words what happened. It may be "".
	Detail string
	Code   wire.Code
	// NotProcessed reports that no handler saw the call, so that it is safe to
	// send it elsewhere whatever it does.
	NotProcessed bool
	// Gone reports that the process of the peer has ended: the error then Is [ErrGone].
	Gone bool
	// Err is the cause. It may be nil.
	Err error
}

// ErrGone means that a connection ended because the process of its peer has ended: its host
// reports that nobody listens at its address any more, or another instance at the address has
// sent a SETUP and this one does not answer. A stateless reset alone proves neither.
var ErrGone = errors.New("the process of the peer is gone")

// Is makes errors.Is report that an error with Gone set is [ErrGone].
func (e *Error) Is(target error) bool { return e.Gone && target == ErrGone }

// Error implements error.
func (e *Error) Error() string {
	text := e.Reason.String()
	if e.Peer != "" {
		text = e.Peer + ": " + text
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Err != nil {
		text += ": " + foreign.Text(e.Err.Error())
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// OutOfTime reports whether a canceled operation had reached its deadline, rather
// than been given up.
func (e *Error) OutOfTime() bool {
	if end, ok := errors.AsType[*EndedError](e.Err); ok {
		return errors.Is(end.How, context.DeadlineExceeded)
	}
	return errors.Is(e.Err, context.DeadlineExceeded)
}

// EndedError is the Err of an [Error] that is due to the end of a context. How and Why are
// separate because a cause may be any error, even one that looks like the other way to end.
type EndedError struct {
	// How is context.Canceled or context.DeadlineExceeded.
	How error
	// Why is the cause of the context.
	Why error
}

func ended(ctx context.Context) error { return &EndedError{How: ctx.Err(), Why: context.Cause(ctx)} }

// Error implements error.
func (e *EndedError) Error() string { return e.Why.Error() }

// Unwrap returns the cause.
func (e *EndedError) Unwrap() error { return e.Why }

// The TLS alerts of RFC 8446, section 6, that tell errors of handshakes apart. Alerts 42 to
// 46, 48, 49 and 51 are all about the certificate. A server without a certificate sends
// alertHandshakeFailure.
const (
	alertCertificateFirst = 42 // bad_certificate
	alertCertificateLast  = 51 // decrypt_error
	alertHandshakeFailure = 40
	alertNoProtocol       = 120
	alertCertRequired     = 116
)

// dialError converts the error of a handshake to an [Error].
func dialError(peer, protocol string, err error) *Error {
	e := &Error{Reason: ReasonUnreachable, Peer: peer, NotProcessed: true, Err: err}
	if own := (*Error)(nil); errors.As(err, &own) {
		return own
	}
	if errors.Is(err, ErrClosed) {
		e.Reason = ReasonClosed
		return e
	}
	end, ok := errors.AsType[*carrier.EndError](err)
	switch {
	case ok:
		e.ended(end, protocol)
	case errors.Is(err, context.Canceled):
		e.Reason = ReasonCanceled
	}
	return e
}

// ended completes the error of a handshake whose connection has ended.
func (e *Error) ended(end *carrier.EndError, protocol string) {
	switch end.End { //nolint:exhaustive // the others say no more than that the peer cannot be reached
	case carrier.EndClosed:
		e.closed(end, protocol)
	case carrier.EndForgotten:
		e.Reason = ReasonOverloaded
		e.Detail = "the peer gave up the handshake before it was complete"
	case carrier.EndStale:
		e.Reason = ReasonOverloaded
		e.Detail = "the peer was too busy to continue the handshake in time"
	case carrier.EndBusy:
		e.Reason = ReasonOverloaded
		e.Detail = "the peer is accepting no more handshakes at the moment"
	case carrier.EndAlert:
		e.alerted(end, protocol)
	}
}

// closed completes the error of a handshake behind which a side closed the connection.
func (e *Error) closed(end *carrier.EndError, protocol string) {
	e.Code = end.Code
	// This side closed the connection, mostly because of what the peer sent.
	if !end.Remote {
		switch e.Code { //nolint:exhaustive // nothing else is a fault of the peer's
		case wire.CodeIncompatible:
			e.Reason = ReasonIncompatible
		case wire.CodeProtocol, wire.CodeLimit:
			e.Reason = ReasonProtocol
		case wire.CodeGoingAway:
			e.Reason = ReasonClosed
		}
		return
	}
	said := foreign.Text(end.Reason)
	e.Detail, e.Err = said, nil
	switch e.Code { //nolint:exhaustive // the other codes say no more than that the peer refused
	case wire.CodeIncompatible:
		e.Reason = ReasonIncompatible
		e.Detail = fmt.Sprintf("this node speaks %s, the peer says: %s", protocol, said)
	case wire.CodeOverloaded:
		e.Reason = ReasonOverloaded
	default:
		e.Reason = ReasonRefused
	}
}

// alerted completes the error of a handshake that TLS ended.
func (e *Error) alerted(end *carrier.EndError, protocol string) {
	switch alert := end.Alert; {
	case alert == alertNoProtocol:
		e.Reason = ReasonIncompatible
		e.Detail = fmt.Sprintf("this node speaks %s, the peer speaks another protocol", protocol)
	case !end.Remote:
		e.Reason = ReasonIdentity
		if end.Verdict != nil {
			e.Err = end.Verdict
		}
	case alert >= alertCertificateFirst && alert <= alertCertificateLast || alert == alertCertRequired:
		e.Reason = ReasonRejected
		e.Detail = "the peer did not accept this node's certificate, and its log says why; check that both clocks are right and that both nodes have the same cluster secret or authority: " +
			tls.AlertError(alert).Error()
	case alert == alertHandshakeFailure:
		e.Reason = ReasonIdentity
		e.Detail = "the peer has no certificate to show"
	}
}

// lost returns the error of an operation whose connection ended.
func (s *Session) lost(err error, notProcessed bool) *Error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, errNoStatus) {
		if cause := s.conn.Cause(); cause != nil || err == nil {
			err = cause
		}
	}
	s.hasEnded(err)
	e := &Error{Reason: ReasonLost, Peer: s.remoteAddr, NotProcessed: notProcessed, Gone: s.vitals.gone.Load(), Err: err}
	end, ok := errors.AsType[*carrier.EndError](err)
	if !ok {
		return e
	}
	switch end.End { //nolint:exhaustive // the others say it in their text
	case carrier.EndClosed:
		e.Code = end.Code
		e.Detail, e.Err = foreign.Text(end.Reason), nil
		switch {
		case end.Remote:
			e.Detail = "the peer closed it: " + e.Detail
		case e.Code == wire.CodeGoingAway:
			e.Reason = ReasonClosed
		}
	case carrier.EndForgotten:
		// A live process also answers with a reset if it gave up the connection while it did not hear its peer.
		e.Detail, e.Err = "the process at its address does not know the connection: it was restarted, or it gave the connection up", nil
	}
	return e
}

var errNoStatus = errors.New("stream ended before its STATUS")

// streamError converts the error of a read or write on a stream to an [Error].
func (s *Session) streamError(err error, notProcessed bool) *Error {
	if own := (*Error)(nil); errors.As(err, &own) {
		return own
	}
	if reset, ok := errors.AsType[*carrier.ResetError](err); ok {
		return s.resetError(reset, notProcessed)
	}
	if syntax, limit := (*wire.SyntaxError)(nil), (*wire.LimitError)(nil); errors.As(err, &syntax) || errors.As(err, &limit) {
		return &Error{Reason: ReasonProtocol, Peer: s.remoteAddr, NotProcessed: notProcessed, Err: err}
	}
	return s.lost(err, notProcessed)
}

// resetError returns the error of an operation on a stream that was reset.
func (s *Session) resetError(reset *carrier.ResetError, notProcessed bool) *Error {
	code := reset.Code
	if !reset.Remote {
		return &Error{Reason: ReasonCanceled, Peer: s.remoteAddr, Code: code, NotProcessed: notProcessed, Detail: "the stream was ended on this side"}
	}
	e := &Error{Reason: ReasonReset, Peer: s.remoteAddr, Code: code, NotProcessed: notProcessed || code.NotProcessed(), Detail: code.String()}
	switch code { //nolint:exhaustive // the rest is a plain reset
	case wire.CodeRefused:
		e.Reason = ReasonRefused
	case wire.CodeGoingAway:
		e.Reason = ReasonDraining
	case wire.CodeOverloaded:
		e.Reason = ReasonOverloaded
	case wire.CodeLimit:
		e.Reason = ReasonLimit
	case wire.CodeProtocol:
		e.Reason = ReasonProtocol
	}
	return e
}

// lossBehind returns the loss of the connection if that is why the stream was reset on this
// side, and err otherwise. A lost connection ends the context of a stream before its reader
// notices, and a handler that returns in between resets the stream.
func lossBehind(stream carrier.Stream, err error) error {
	if reset, ok := errors.AsType[*carrier.ResetError](err); !ok || reset.Remote {
		return err
	}
	if why := stream.Cause(); carrier.HasEnded(why) {
		return why
	}
	return err
}

func (s *Session) protocolError(detail string) *Error {
	return &Error{Reason: ReasonProtocol, Peer: s.remoteAddr, Detail: detail}
}
