package quicconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/transport/quicconn"
	"github.com/linkmesh/link/internal/wire"
)

func TestEachEndOfAQUICConnectionHasItsName(t *testing.T) {
	for _, test := range []struct {
		err  error
		want carrier.EndError
	}{
		{&quic.ApplicationError{Remote: true, ErrorCode: quic.ApplicationErrorCode(wire.CodeLimit), ErrorMessage: "why"}, carrier.EndError{End: carrier.EndClosed, Remote: true, Code: wire.CodeLimit, Reason: "why"}},
		{&quic.ApplicationError{}, carrier.EndError{End: carrier.EndClosed}},
		{&quic.StatelessResetError{}, carrier.EndError{End: carrier.EndForgotten}},
		{&quic.IdleTimeoutError{}, carrier.EndError{End: carrier.EndSilent}},
		{&quic.HandshakeTimeoutError{}, carrier.EndError{End: carrier.EndSilent}},
		{&quic.TransportError{ErrorCode: quic.FlowControlError}, carrier.EndError{End: carrier.EndViolated}},
		{&quic.TransportError{ErrorCode: quic.ProtocolViolation}, carrier.EndError{End: carrier.EndViolated}},
		{&quic.TransportError{ErrorCode: quic.ProtocolViolation, Remote: true}, carrier.EndError{End: carrier.EndFailed, Remote: true}},
		{&quic.TransportError{ErrorCode: quic.InternalError}, carrier.EndError{End: carrier.EndInternal}},
		{&quic.TransportError{ErrorCode: quic.ConnectionRefused, Remote: true}, carrier.EndError{End: carrier.EndBusy, Remote: true}},
		{&quic.TransportError{ErrorCode: quic.InvalidToken, Remote: true}, carrier.EndError{End: carrier.EndStale, Remote: true}},
		{&quic.TransportError{ErrorCode: 0x100 + 42, Remote: true}, carrier.EndError{End: carrier.EndAlert, Alert: 42, Remote: true}},
		{&quic.VersionNegotiationError{}, carrier.EndError{End: carrier.EndFailed}},
		{fmt.Errorf("a socket: %w", net.ErrClosed), carrier.EndError{End: carrier.EndFailed}},
	} {
		got, ok := errors.AsType[*carrier.EndError](quicconn.Translate(test.err))
		if test.want.Err = test.err; !ok || *got != test.want {
			t.Errorf("%v (%T) is %+v, want %+v", test.err, test.err, got, &test.want)
		}
		if again := quicconn.Translate(got); !errors.Is(again, test.err) || again.Error() != test.err.Error() {
			t.Errorf("%v says %q, and what was below is lost", test.err, again)
		}
	}
}

func TestErrorsOfQUICStreamsAreThoseOfCarriers(t *testing.T) {
	for _, remote := range []bool{false, true} {
		reset, ok := errors.AsType[*carrier.ResetError](quicconn.Translate(&quic.StreamError{StreamID: 4, ErrorCode: quic.StreamErrorCode(wire.CodeRefused), Remote: remote}))
		if !ok || *reset != (carrier.ResetError{Code: wire.CodeRefused, Remote: remote}) {
			t.Errorf("a reset is %v", reset)
		}
	}
	for given, want := range map[error]error{
		quic.ErrWouldBlock:              carrier.ErrWouldBlock,
		quic.ErrStreamClosed:            carrier.ErrFinished,
		&quic.StreamLimitReachedError{}: carrier.ErrNoStream,
		// Others are as they were.
		io.EOF:                   io.EOF,
		os.ErrDeadlineExceeded:   os.ErrDeadlineExceeded,
		context.DeadlineExceeded: context.DeadlineExceeded,
		nil:                      nil,
	} {
		if got := quicconn.Translate(given); got != want { //nolint:errorlint // it must be the very error
			t.Errorf("%v is %v, want %v", given, got, want)
		}
	}
}
