// Package quicconn carries connections over QUIC. It is the one door to quic-go: no other package of the library, its
// tests aside, knows a type of it.
//
// # Overview
//
// A [Transport] dials and listens on one socket. A [Conn] is a [carrier.Conn] whose handshake is complete. [Translate] turns
// errors of quic-go into those of package carrier.
//
// # Concurrency
//
// All types are safe for concurrent use, as package carrier says.
package quicconn

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"
)

// Config configures a [Transport]. The functions must not be nil.
type Config struct {
	// Socket is read and written by QUIC alone. Its owner closes it after Close.
	Socket net.PacketConn
	// ResetKey makes the tokens of stateless resets.
	ResetKey [32]byte
	// MustValidate reports whether a peer must prove that it is at an address before its handshake begins.
	MustValidate func(from net.Addr) bool
	// Admit returns the context of a connection whose handshake begins, or why it must not. The result must be made from
	// ctx, which ends with the connection or with a handshake that fails. proven means that the peer has proved its address.
	Admit func(ctx context.Context, from net.Addr, proven bool) (context.Context, error)
	// MayGrow reports whether the peer of a connection may have delta more bytes in flight to us. ctx is that of the
	// connection: the values are those of Admit, or of the context of Dial. It must not block.
	MayGrow func(ctx context.Context, delta uint64) bool
	// Narrow reports whether the next accepted connection begins with NarrowWindow.
	Narrow func() bool
	// Window is the most bytes that a peer may have in flight to us on one connection, FirstWindow how many at first, and
	// NarrowWindow how many at first on accepted connections if Narrow says so.
	Window, FirstWindow, NarrowWindow uint64
	// Streams is how many streams the peer of an accepted connection may have open.
	Streams int
	// HandshakeTimeout bounds a handshake.
	HandshakeTimeout time.Duration
	// IdleTimeout ends a connection on which nothing was heard. KeepAlive is the interval at which the dialing side sends
	// something.
	IdleTimeout, KeepAlive time.Duration
}

// Transport is QUIC on one socket.
type Transport struct {
	conf Config
	quic *quic.Transport
}

// connIDLen is the length in bytes of the connection IDs that this side chooses. An ID is random and identifies a
// connection among all of the socket. quic-go does not draw again when it draws an ID that is taken, and that connection
// then receives nothing. Peers use an ID for 10,000 packets, so with quic-go's default of 4 bytes, 1,000 connections and
// 200,000 packets per second, it would happen every 15 hours; with 8 bytes, once in 7 million years.
const connIDLen = 8

// New returns a transport. Close must be called.
func New(conf Config) *Transport {
	key := quic.StatelessResetKey(conf.ResetKey)
	return &Transport{conf: conf, quic: &quic.Transport{
		Conn:                conf.Socket,
		ConnectionIDLength:  connIDLen,
		StatelessResetKey:   &key,
		MaxTokenAge:         time.Hour,
		VerifySourceAddress: conf.MustValidate,
		ConnContext: func(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
			return conf.Admit(ctx, info.RemoteAddr, info.AddrVerified)
		},
		DisableVersionNegotiationPackets: false,
	}}
}

// config returns the configuration that both sides share.
func (t *Transport) config() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:             t.conf.HandshakeTimeout,
		MaxIdleTimeout:                   t.conf.IdleTimeout,
		InitialStreamReceiveWindow:       t.conf.FirstWindow / 2,
		MaxStreamReceiveWindow:           6 << 20,
		InitialConnectionReceiveWindow:   t.conf.FirstWindow,
		MaxConnectionReceiveWindow:       t.conf.Window,
		MaxIncomingUniStreams:            16,
		RequireStreamCreditRelease:       true,
		EnableStreamResetPartialDelivery: true,
		AllowConnectionWindowIncrease: func(conn *quic.Conn, delta uint64) bool {
			return t.conf.MayGrow(conn.Context(), delta)
		},
	}
}

func (t *Transport) serverConfig() *quic.Config {
	c := t.config()
	c.MaxIncomingStreams = int64(t.conf.Streams)
	narrow := c.Clone()
	narrow.InitialStreamReceiveWindow, narrow.InitialConnectionReceiveWindow = t.conf.NarrowWindow, t.conf.NarrowWindow
	c.GetConfigForClient = func(*quic.ClientInfo) (*quic.Config, error) {
		if t.conf.Narrow() {
			return narrow, nil
		}
		return c, nil
	}
	return c
}

func (t *Transport) clientConfig() *quic.Config {
	c := t.config()
	// Only the dialing side opens streams.
	c.MaxIncomingStreams = -1
	c.KeepAlivePeriod = t.conf.KeepAlive
	return c
}

// Dial makes a connection and returns it once the handshake is complete. The values of ctx are those of the connection's
// context. Errors of QUIC are those of [Translate].
func (t *Transport) Dial(ctx context.Context, to netip.AddrPort, conf *tls.Config) (Conn, error) {
	conn, err := t.quic.Dial(ctx, net.UDPAddrFromAddrPort(to), conf, t.clientConfig()) //nolint:contextcheck,nolintlint // a configuration has no context
	if err != nil {
		return Conn{}, Translate(err)
	}
	return Conn{conn}, nil
}

// Listen begins to accept connections. It may be called once.
func (t *Transport) Listen(conf *tls.Config) (*Listener, error) {
	l, err := t.quic.Listen(conf, t.serverConfig())
	if err != nil {
		return nil, err
	}
	return &Listener{l}, nil
}

// Close ends all connections that have not ended, and stops to read from the socket.
func (t *Transport) Close() error { return t.quic.Close() }

// Listener accepts connections.
type Listener struct{ listener *quic.Listener }

// Accept returns the next connection whose handshake is complete. Connections are refused while many wait for Accept.
func (l *Listener) Accept(ctx context.Context) (Conn, error) {
	conn, err := l.listener.Accept(ctx)
	if err != nil {
		return Conn{}, err
	}
	return Conn{conn}, nil
}

// Close refuses new connections. Those that were accepted are not affected. It fails only if it was called before.
func (l *Listener) Close() error { return l.listener.Close() }
