package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/wire"
)

// Reason is a closed set of reasons why something failed, for code to act on.
type Reason uint8

// The reasons.
const (
	ReasonUnreachable  Reason = iota // no connection: nobody answered, or the address is wrong
	ReasonIncompatible               // the peer speaks no version of ours
	ReasonRejected                   // the peer did not accept our certificate
	ReasonIdentity                   // the peer's certificate is not the one expected
	ReasonRefused                    // the peer or the connection took no call, no handler saw it
	ReasonOverloaded                 // as refused, because a limit is reached
	ReasonDraining                   // the peer drains and takes no new call
	ReasonReset                      // the peer reset the stream
	ReasonLost                       // the connection ended
	ReasonProtocol                   // bytes that link/1 does not allow
	ReasonLimit                      // a size, rate or credit was exceeded
	ReasonForbidden                  // Config.MayDial refuses the address
	ReasonCanceled                   // the caller's context ended
	ReasonClosed                     // this endpoint closed
	ReasonDoubt                      // the peer is silent and may be gone; the call may leave it
)

// String returns the reason in words.
func (r Reason) String() string {
	return [...]string{
		"unreachable", "incompatible protocol", "rejected by peer", "wrong identity", "refused", "overloaded", "draining",
		"reset by peer", "connection lost", "protocol violation", "limit exceeded", "forbidden address", "canceled", "closed", "in doubt",
	}[r]
}

// Error is what every failing operation of this package returns.
type Error struct {
	Reason Reason
	Peer   string // address of the peer, "" if there is none yet
	Detail string // what happened, in words; may be ""
	Code   wire.Code
	// NotProcessed reports that no handler saw the call, so that it is safe to
	// send it elsewhere whatever it does.
	NotProcessed bool
	Gone         bool  // the process of the peer has ended: the error Is ErrGone
	Err          error // the cause, may be nil
}

// ErrGone is why a connection ended whose peer's process has ended: its host says that
// nobody listens at its address any more, or another instance said in its SETUP that it is there and this
// one does not answer. A stateless reset alone proves neither.
var ErrGone = errors.New("the process of the peer is gone")

// Is implements what errors.Is looks for.
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

// OutOfTime reports whether what was canceled had reached its deadline, rather
// than been given up.
func (e *Error) OutOfTime() bool {
	if end, ok := errors.AsType[*EndedError](e.Err); ok {
		return errors.Is(end.How, context.DeadlineExceeded)
	}
	return errors.Is(e.Err, context.DeadlineExceeded)
}

// EndedError is the Err of what failed because a context ended. How it ended and why
// are two things: a cause may be any error, even one that looks like the other
// way to end.
type EndedError struct {
	How error // context.Canceled or context.DeadlineExceeded
	Why error // the cause of the context
}

func ended(ctx context.Context) error { return &EndedError{How: ctx.Err(), Why: context.Cause(ctx)} }

// Error implements error.
func (e *EndedError) Error() string { return e.Why.Error() }

// Unwrap returns the cause.
func (e *EndedError) Unwrap() error { return e.Why }

const (
	alertBase             = 0x100 // CRYPTO_ERROR, RFC 9001 section 4.8
	alertCertificateFirst = 42    // bad_certificate, RFC 8446 section 6
	alertCertificateLast  = 51    // decrypt_error; 42 to 46, 48, 49 and 51 all judge the certificate
	alertHandshakeFailure = 40    // a server without a certificate
	alertNoProtocol       = 120
	alertCertRequired     = 116
)

// dialError turns the error of a handshake into ours.
func dialError(peer, protocol string, err error) *Error {
	e := &Error{Reason: ReasonUnreachable, Peer: peer, NotProcessed: true, Err: err}
	if own := (*Error)(nil); errors.As(err, &own) {
		return own
	}
	if errors.Is(err, ErrClosed) {
		e.Reason = ReasonClosed
		return e
	}
	app, ok := errors.AsType[*quic.ApplicationError](err)
	if ok && !app.Remote { // we closed, mostly because of what the peer sent
		switch e.Code = wire.Code(app.ErrorCode); e.Code { //nolint:exhaustive // nothing else is a fault of the peer's
		case wire.CodeIncompatible:
			e.Reason = ReasonIncompatible
		case wire.CodeProtocol, wire.CodeLimit:
			e.Reason = ReasonProtocol
		case wire.CodeGoingAway:
			e.Reason = ReasonClosed
		}
		return e
	}
	if ok {
		e.Code, e.Err = wire.Code(app.ErrorCode), nil
		said := foreign.Text(app.ErrorMessage)
		e.Detail = said
		switch e.Code { //nolint:exhaustive // the other codes say no more than that the peer refused
		case wire.CodeIncompatible:
			e.Reason = ReasonIncompatible
			e.Detail = fmt.Sprintf("this node speaks %s, the peer says: %s", protocol, said)
		case wire.CodeOverloaded:
			e.Reason = ReasonOverloaded
		default:
			e.Reason = ReasonRefused
		}
		return e
	}
	var tp *quic.TransportError
	if !errors.As(err, &tp) {
		switch _, forgotten := errors.AsType[*quic.StatelessResetError](err); {
		case errors.Is(err, context.Canceled):
			e.Reason = ReasonCanceled
		case forgotten:
			e.Reason = ReasonOverloaded
			e.Detail = "the peer gave up the handshake before it was complete"
		}
		return e
	}
	switch alert := uint64(tp.ErrorCode) - alertBase; {
	case tp.ErrorCode == quic.InvalidToken: // the token is from a Retry that it sent too long ago
		e.Reason = ReasonOverloaded
		e.Detail = "the peer was too busy to go on with the handshake in time"
	case tp.ErrorCode == quic.ConnectionRefused:
		e.Reason = ReasonOverloaded
		e.Detail = "the peer takes no more handshakes now"
	case !tp.ErrorCode.IsCryptoError():
	case alert == alertNoProtocol:
		e.Reason = ReasonIncompatible
		e.Detail = fmt.Sprintf("this node speaks %s, the peer speaks another protocol", protocol)
	case tp.Remote && (alert >= alertCertificateFirst && alert <= alertCertificateLast || alert == alertCertRequired):
		e.Reason = ReasonRejected
		e.Detail = "the peer did not accept this node's certificate, and its log says why; are both clocks right, and are both nodes of one cluster or authority? " +
			tls.AlertError(alert).Error()
	case tp.Remote && alert == alertHandshakeFailure:
		e.Reason = ReasonIdentity
		e.Detail = "the peer has no certificate to show"
	case !tp.Remote:
		e.Reason = ReasonIdentity
		if cause := verdict(tp); cause != nil { // what our verifier said
			e.Err = cause
		}
	}
	return e
}

// verdict is what crypto/tls said when it ended a handshake, without what QUIC adds; nil if
// that was not why it ended.
func verdict(tp *quic.TransportError) error {
	for _, cause := range tp.Unwrap() {
		if cause != nil && !errors.Is(cause, net.ErrClosed) {
			return cause
		}
	}
	return nil
}

// lost describes the end of a connection under a running operation.
func (s *Session) lost(err error, notProcessed bool) *Error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, errNoStatus) {
		if cause := context.Cause(s.conn.Context()); cause != nil || err == nil {
			err = cause
		}
	}
	s.hasEnded(err)
	e := &Error{Reason: ReasonLost, Peer: s.remoteAddr, NotProcessed: notProcessed, Gone: s.gone.Load(), Err: err}
	if app, ok := errors.AsType[*quic.ApplicationError](err); ok {
		e.Code = wire.Code(app.ErrorCode)
		e.Detail, e.Err = foreign.Text(app.ErrorMessage), nil
		switch {
		case app.Remote:
			e.Detail = "the peer closed it: " + e.Detail
		case e.Code == wire.CodeGoingAway:
			e.Reason = ReasonClosed
		}
	} else if _, reset := errors.AsType[*quic.StatelessResetError](err); reset {
		// A process that lives answers so, too, for a connection that it gave up while its peer was not heard.
		e.Detail, e.Err = "the process at its address does not know the connection: it is another one now, or it gave the connection up", nil
	}
	return e
}

var errNoStatus = errors.New("stream ended before its STATUS")

// streamError turns the error of a read or write on a stream into ours.
func (s *Session) streamError(err error, notProcessed bool) *Error {
	if own := (*Error)(nil); errors.As(err, &own) {
		return own
	}
	var se *quic.StreamError
	if errors.As(err, &se) && !se.Remote {
		return &Error{Reason: ReasonCanceled, Peer: s.remoteAddr, Code: wire.Code(se.ErrorCode), NotProcessed: notProcessed, Detail: "the stream was ended on this side"}
	}
	if se != nil {
		code := wire.Code(se.ErrorCode)
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
	if syntax, limit := (*wire.SyntaxError)(nil), (*wire.LimitError)(nil); errors.As(err, &syntax) || errors.As(err, &limit) {
		return &Error{Reason: ReasonProtocol, Peer: s.remoteAddr, NotProcessed: notProcessed, Err: err}
	}
	return s.lost(err, notProcessed)
}

// lossBehind returns the loss of the connection if that is why the stream was reset on this
// side: a lost connection ends the context of a stream before its reader hears of it, and
// the handler that returns meanwhile resets what is left.
func lossBehind(stream *quic.Stream, err error) error {
	if reset, ok := errors.AsType[*quic.StreamError](err); !ok || reset.Remote {
		return err
	}
	why := context.Cause(stream.Context())
	if _, reset := errors.AsType[*quic.StreamError](why); reset || why == nil || errors.Is(why, quic.ErrStreamClosed) || errors.Is(why, context.Canceled) {
		return err
	}
	return why
}

func (s *Session) protocolError(detail string) *Error {
	return &Error{Reason: ReasonProtocol, Peer: s.remoteAddr, Detail: detail}
}
