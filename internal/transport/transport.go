// Package transport carries link/1 over connections of package carrier. Those
// of package quicconn are the only ones yet.
//
// # Overview
//
// An [Endpoint] owns one UDP socket and one QUIC transport on it, which dials and
// listens. A [Session] is a connection whose CONTROL streams have exchanged
// SETUP. The dialing side opens streams: unary calls use leased streams
// ([Session.Call]), everything else uses a stream of its own ([Session.Open]).
// The accepting side hands them to a [Handler].
//
// # Guarantees
//
//   - A dial succeeds only after the peer's SETUP, and thus after the peer has
//     accepted our certificate.
//   - An error says whether a handler may have seen the call, see
//     [Error.NotProcessed].
//   - A STATUS is written before any reset, and nothing written before it is
//     lost to the reset.
//   - Every queue, buffer and wait is bounded by [Limits].
//
// # Concurrency
//
// Endpoint, Peer and Session are safe for concurrent use. A [Stream] has one
// sender and one receiver at a time.
package transport

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/lifecycle"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/transport/quicconn"
	"github.com/linkmesh/link/internal/udp"
	"github.com/linkmesh/link/internal/wire"
)

// Config configures an [Endpoint].
type Config struct {
	// Conn is the socket; the endpoint owns and closes it.
	Conn net.PacketConn
	// ServerTLS returns the configuration for accepting connections that speak
	// protocol. It is called per handshake. It may be nil if the endpoint never listens.
	ServerTLS func(protocol string) *tls.Config
	// Identify returns who the peer of a verified handshake is. own is the certificate that
	// this side presented, or nil if it is not known.
	Identify func(state tls.ConnectionState, own *x509.Certificate) (Identity, error)
	// Refusal returns the reason why the verifier of ServerTLS ended a handshake with this
	// error, or "" if it did not. Reasons are a small closed set. If Refusal is nil, there
	// are none.
	Refusal func(error) string
	// Setup returns what this side announces in SETUP and ROUTES. It is called
	// per connection.
	Setup func() (wire.Setup, []wire.RouteInfo)
	// MayDial returns why an address must not be dialed, or nil if it may. It is called
	// after a host name has been resolved. If MayDial is nil, all addresses are allowed.
	MayDial func(netip.Addr) error
	// Handler serves incoming calls and streams.
	Handler Handler
	// Limits bounds everything; zero fields take their defaults.
	Limits Limits
	// Logger must not be nil.
	Logger *slog.Logger
	// Protocol overrides the ALPN identifier; tests only.
	Protocol string
	// ResetKey makes the tokens of stateless resets (RFC 9000, section 10.3). A
	// process that has the key of its predecessor at the same address ends the
	// predecessor's connections at their first packet. The key must be a secret. If it
	// is nil, a random key is used, and the peers of this process learn of its end only
	// by silence.
	ResetKey *[32]byte
	// Resolver looks up host names. Nil means net.DefaultResolver.
	Resolver *net.Resolver
}

// Identity is the result of a verified handshake.
type Identity struct {
	// Key is equal for equal identities.
	Key string
	// Advisory means that Key is a name that the peer chose: its address also counts when
	// limits are shared.
	Advisory bool
	// Peer is what [Session.Peer] returns.
	Peer any
	// Expires is when the first of the two certificates expires. Zero means never.
	Expires time.Time
}

// Endpoint is one socket with everything that runs on it.
type Endpoint struct {
	cfg     Config
	limits  Limits
	log     *slog.Logger
	quic    *quicconn.Transport
	group   *lifecycle.Group
	gate    *gate
	pools   pools
	callers callers
	lenders lenders
	watcher watcher
	// refusals counts the connections that were refused, and shed the calls, streams and messages
	// that were refused for lack of room.
	refusals refusals
	shed     refusals

	socket   socketFailure
	liveness liveness
	// knocks holds a token per knock in flight.
	knocks chan struct{}

	listener atomic.Pointer[quicconn.Listener]
	drain    drain
	// tags are those announced since the start. Nil means those of Setup.
	tags atomic.Pointer[[]string]
	// seconds counts the seconds that the janitor has seen.
	seconds atomic.Int64
	known   directory
}

// socketFailure is why the socket of an endpoint can no longer be read.
type socketFailure struct {
	once sync.Once
	// why is set before failed is closed.
	why    error
	failed chan struct{}
}

// New returns an endpoint on cfg.Conn. It can dial at once, and accepts connections
// after [Endpoint.Listen].
func New(cfg Config) (*Endpoint, error) {
	if cfg.Protocol == "" {
		cfg.Protocol = wire.Protocol
	}
	var key [32]byte
	if cfg.ResetKey != nil {
		key = *cfg.ResetKey
	} else if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	e := &Endpoint{
		cfg: cfg, limits: cfg.Limits.withDefaults(), log: cfg.Logger,
		group:  lifecycle.New(context.Background()),
		socket: socketFailure{failed: make(chan struct{})},
		knocks: make(chan struct{}, maxKnocks),
		known:  newDirectory(),
	}
	e.drain.prepare()
	e.pools = newPools(&e.limits)
	e.callers.refusals = e.limits.Streams.RefusalRate
	e.lenders = lenders{wake: notify.NewFlag(), all: make(map[*Session]struct{})}
	e.refusals = refusals{log: cfg.Logger, what: "link: refusing connections", reasons: make(map[string]*refusal)}
	e.shed = refusals{log: cfg.Logger, what: "link: refusing what a peer asks for, at a limit", reasons: make(map[string]*refusal)}
	e.gate = newGate(e.limits)
	e.gate.failed = func(peer string, err error) { e.refusals.failed(cfg.Refusal, peer, quicconn.Translate(err)) }
	filter := newStrangers(e.dropped)
	e.quic = quicconn.New(quicconn.Config{
		Socket:       udp.New(cfg.Conn, udp.Config{Logger: e.log, Failed: e.fail, Admit: filter.admits}),
		ResetKey:     key,
		MustValidate: e.gate.mustValidate,
		Admit:        e.gate.admit,
		MayGrow:      e.mayGrow,
		Narrow:       e.narrow,
		Window:       connWindow, FirstWindow: firstWindow, NarrowWindow: narrowWindow,
		Streams:          e.limits.Streams.PerConnection,
		HandshakeTimeout: e.limits.DialTimeout,
		IdleTimeout:      idleTimeout, KeepAlive: keepAlive,
	})
	e.watcher.wake = notify.NewFlag()
	e.group.Go(e.watch)
	e.liveness.wake = notify.NewFlag()
	e.group.Go(e.attend)
	e.group.Go(e.janitor)
	e.group.Go(e.repayAll)
	return e, nil
}

// Addr returns the local address of the socket.
func (e *Endpoint) Addr() net.Addr { return e.cfg.Conn.LocalAddr() }

// fail notes that the socket can no longer be read.
func (e *Endpoint) fail(why error) {
	e.socket.once.Do(func() {
		e.socket.why = fmt.Errorf("the socket of this node has failed, so the node is of no further use: %w", why)
		e.log.Error("link: the socket has failed; this node can no longer call or be called and has to be made anew", "error", why)
		close(e.socket.failed)
	})
}

// dropped counts a datagram that was dropped because its sender sends too many.
func (e *Endpoint) dropped(peer, text string) { e.refusals.note(refusedFlood, peer, text, time.Now()) }

// Failed returns a channel that is closed when the socket can no longer be read, though the endpoint was not
// closed. All connections then end.
func (e *Endpoint) Failed() <-chan struct{} { return e.socket.failed }

// Failure returns why the socket failed once Failed is closed, and nil before.
func (e *Endpoint) Failure() error {
	select {
	case <-e.socket.failed:
		return e.socket.why
	default:
		return nil
	}
}

// ErrClosed is the cause of everything that ends because the endpoint closed.
var ErrClosed = errors.New("endpoint closed")

// Close ends all connections with a CONNECTION_CLOSE, waits for every goroutine,
// and closes the socket. Handlers that still run see their context canceled. If
// some do not return within 5 s, Close leaves them behind and returns [ErrStuck].
// It is idempotent.
func (e *Endpoint) Close() error {
	e.known.mu.Lock()
	if e.known.closed {
		e.known.mu.Unlock()
		return e.waitClosed()
	}
	e.known.closed = true
	sessions := make([]*Session, 0, len(e.known.sessions))
	for s := range e.known.sessions {
		sessions = append(sessions, s)
	}
	e.known.mu.Unlock()

	e.refusals.stop()
	e.shed.stop()
	e.drain.cancel(ErrClosed)
	// The listener's Close fails only if it is closed already.
	if l := e.listener.Load(); l != nil {
		_ = l.Close()
	}
	for _, s := range sessions {
		s.close(wire.CodeGoingAway, "node closed")
	}
	e.group.Stop(ErrClosed)
	err := e.waitClosed()
	return errors.Join(err, e.quic.Close(), ignoreClosed(e.cfg.Conn.Close()))
}

// ErrStuck means that handlers still run long after their context was canceled.
// Their goroutines are left behind, because waiting for them might never end.
var ErrStuck = errors.New("handlers ignore the end of their contexts")

// closeWait is how long Close waits for canceled handlers.
const closeWait = 5 * time.Second

func (e *Endpoint) waitClosed() error {
	ended := make(chan struct{})
	// This goroutine lives as long as the handlers that it waits for.
	go func() {
		e.group.Wait()
		close(ended)
	}()
	t := time.NewTimer(closeWait)
	defer t.Stop()
	select {
	case <-ended:
		return nil
	case <-t.C:
		return fmt.Errorf("%w: %d still run after %v", ErrStuck, e.drain.active.Load(), closeWait)
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
