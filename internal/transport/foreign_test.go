package transport

import (
	"context"
	"errors"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/transport/quicconn"
	"github.com/linkmesh/link/internal/wire"
)

// TestWhatPeersSayIsEscapedInErrors checks that errors escape the control characters of the reason with
// which a peer ends a connection.
func TestWhatPeersSayIsEscapedInErrors(t *testing.T) { // SEC-124
	const evil = "bye\x1b[2J\nlevel=ERROR msg=forged \u202e"
	s := &Session{whereabouts: whereabouts{remoteAddr: "192.0.2.1:1"}}
	for name, err := range map[string]error{
		"a refused dial":      dialError("192.0.2.1:1", wire.Protocol, quicconn.Translate(&quic.ApplicationError{Remote: true, ErrorCode: quic.ApplicationErrorCode(wire.CodeRefused), ErrorMessage: evil})),
		"another version":     dialError("192.0.2.1:1", wire.Protocol, quicconn.Translate(&quic.ApplicationError{Remote: true, ErrorCode: quic.ApplicationErrorCode(wire.CodeIncompatible), ErrorMessage: evil})),
		"an error of QUIC":    dialError("192.0.2.1:1", wire.Protocol, quicconn.Translate(&quic.TransportError{Remote: true, ErrorCode: quic.InternalError, ErrorMessage: evil})),
		"an error of TLS":     dialError("192.0.2.1:1", wire.Protocol, quicconn.Translate(&quic.TransportError{Remote: true, ErrorCode: 0x100 + 80, ErrorMessage: evil})),
		"a lost connection":   s.lost(quicconn.Translate(&quic.ApplicationError{Remote: true, ErrorMessage: evil}), false),
		"a lost one, by QUIC": s.lost(quicconn.Translate(&quic.TransportError{Remote: true, ErrorCode: quic.InternalError, ErrorMessage: evil}), false),
		"no SETUP in time":    dialError("192.0.2.1:1", wire.Protocol, errors.Join(errNoSetup, context.DeadlineExceeded)),
	} {
		if text := err.Error(); !foreign.Clean(text) {
			t.Errorf("%s: %q", name, text)
		}
	}
}
