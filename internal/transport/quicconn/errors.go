package quicconn

import (
	"errors"
	"io"
	"net"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/wire"
)

// Translate returns an error of quic-go as an error of package carrier. It returns errors that are none of quic-go, such
// as io.EOF or those of contexts and deadlines, as they are.
func Translate(err error) error {
	switch {
	case err == nil, err == io.EOF, carrier.HasEnded(err): //nolint:errorlint // quic-go returns it as it is
		return err
	case errors.Is(err, quic.ErrWouldBlock):
		return carrier.ErrWouldBlock
	case errors.Is(err, quic.ErrStreamClosed):
		return carrier.ErrFinished
	case is[*quic.StreamLimitReachedError](err):
		return carrier.ErrNoStream
	}
	if reset, ok := errors.AsType[*quic.StreamError](err); ok {
		return &carrier.ResetError{Code: wire.Code(reset.ErrorCode), Remote: reset.Remote}
	}
	// Every error that ends a connection is a net.ErrClosed.
	if errors.Is(err, net.ErrClosed) {
		return endOf(err)
	}
	return err
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// endOf returns the error for the end of a connection, which err is about.
func endOf(err error) *carrier.EndError {
	end := &carrier.EndError{Err: err}
	app, closed := errors.AsType[*quic.ApplicationError](err)
	tp, failed := errors.AsType[*quic.TransportError](err)
	switch {
	case closed:
		end.End, end.Remote = carrier.EndClosed, app.Remote
		end.Code, end.Reason = wire.Code(app.ErrorCode), app.ErrorMessage
	case failed:
		end.Remote, end.Verdict = tp.Remote, verdict(tp)
		end.End, end.Alert = kindOf(tp)
	case is[*quic.StatelessResetError](err):
		end.End = carrier.EndForgotten
	case is[*quic.IdleTimeoutError](err), is[*quic.HandshakeTimeoutError](err):
		end.End = carrier.EndSilent
	}
	return end
}

// alertBase is the CRYPTO_ERROR of alert 0 (RFC 9001, section 4.8).
const alertBase = 0x100

func kindOf(tp *quic.TransportError) (end carrier.End, alert uint8) {
	switch code := tp.ErrorCode; {
	case code.IsCryptoError():
		return carrier.EndAlert, uint8(code - alertBase)
	case code == quic.ConnectionRefused:
		return carrier.EndBusy, 0
	case code == quic.InvalidToken:
		return carrier.EndStale, 0
	case tp.Remote:
		return carrier.EndFailed, 0
	case code >= quic.FlowControlError && code <= quic.ProtocolViolation:
		return carrier.EndViolated, 0
	}
	return carrier.EndInternal, 0
}

// verdict returns the error with which crypto/tls, or our verifier, ended a handshake, without
// what QUIC adds. It returns nil if the handshake ended for another reason.
func verdict(tp *quic.TransportError) error {
	for _, cause := range tp.Unwrap() {
		if cause != nil && !errors.Is(cause, net.ErrClosed) {
			return cause
		}
	}
	return nil
}
