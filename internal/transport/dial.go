package transport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/transport/quicconn"
	"github.com/linkmesh/link/internal/wire"
)

// connWindow is the most bytes that a peer may have in flight to us on one
// connection. The credit granted to all streams together stays below 3/4 of it, see
// [Stream.Grant].
const connWindow = 32 << 20

// The bytes that a connection may have in flight to us before its window grows, see
// [Endpoint.mayGrow]. A peer that leaves a gap in each of its streams makes us buffer all
// the rest, on each of its connections, so when there are many connections, most begin
// with narrowWindow.
const (
	firstWindow  = 1 << 20
	narrowWindow = 128 << 10
	// wideConns divides Limits.ConnsPerProcess: while fewer connections than a 64th of that
	// limit are open, new ones begin with firstWindow.
	wideConns = 64
)

// narrow reports whether the next connection that a peer dials begins with narrowWindow.
func (e *Endpoint) narrow() bool { return e.pools.conns.Used() >= e.pools.conns.Limit()/wideConns }

// headStart is how long one address of a name has to answer before the next is
// dialed in parallel: the Connection Attempt Delay of RFC 8305, section 8.
const headStart = 250 * time.Millisecond

// renewDial is the time after which a dial without an answer begins another handshake, in parallel with those that it
// has begun. QUIC doubles the interval at which it resends the first packet of a handshake, so when a network comes
// back, no packet might be sent for seconds. In a dial of 5 s no two packets are more than 0.8 s apart.
const (
	renewDial = 2 * time.Second
	// maxRenewals bounds the renewals of one dial when DialTimeout is long.
	maxRenewals = 8
)

// dial connects to the peer and returns once the peer's SETUP has arrived. A host name
// may have several addresses: each is dialed when the one before it has failed or had its
// head start, and the first that answers wins. While none answers, they are dialed again after renewDial.
//
// again means that nobody listened at the address a moment ago. Its process may come up between two
// packets, and QUIC resends the first one only after about 200 ms, so a second handshake begins in
// parallel before that.
func (e *Endpoint) dial(ctx context.Context, p *Peer, again bool) (*Session, error) {
	if err := e.Failure(); err != nil {
		return nil, &Error{Reason: ReasonUnreachable, Peer: p.key.addr, NotProcessed: true, Err: err}
	}
	addrs, err := e.resolve(ctx, p.key.addr)
	if err != nil {
		return nil, &Error{Reason: ReasonUnreachable, Peer: p.key.addr, NotProcessed: true, Err: err}
	}
	if addrs, err = e.allowed(p, addrs); err != nil {
		return nil, err
	}
	plan := make([]dialAt, 0, len(addrs)+maxRenewals)
	for _, addr := range addrs {
		plan = append(plan, dialAt{addr, headStart})
	}
	if again && len(addrs) == 1 {
		plan = append(plan, dialAt{addrs[0], refusedRetry})
	}
	for i := range min(maxRenewals, int(e.limits.DialTimeout/renewDial)) {
		plan = append(plan, dialAt{addrs[i%len(addrs)], renewDial})
	}
	return e.dialFirst(ctx, p, addrs, plan)
}

// dialAt is a planned handshake. It begins when the time after has passed since the one
// before it began.
type dialAt struct {
	addr  netip.AddrPort
	after time.Duration
}

// allowed returns the addresses that may be dialed, or an error if there are none.
func (e *Endpoint) allowed(p *Peer, addrs []netip.AddrPort) ([]netip.AddrPort, error) {
	var forbidden error
	out := make([]netip.AddrPort, 0, len(addrs))
	for _, ap := range addrs {
		if err := e.mayDial(p, ap.Addr().Unmap()); err == nil {
			out = append(out, ap)
		} else if forbidden == nil {
			forbidden = err
		}
	}
	if len(out) == 0 {
		return nil, &Error{Reason: ReasonForbidden, Peer: p.key.addr, NotProcessed: true, Err: forbidden}
	}
	return out, nil
}

func (e *Endpoint) mayDial(p *Peer, addr netip.Addr) error {
	for _, may := range []func(netip.Addr) error{e.cfg.MayDial, p.conf.Load().MayDial} {
		if may == nil {
			continue
		}
		if err := may(addr); err != nil {
			return err
		}
	}
	return nil
}

// dialed is the result of dialing one address.
type dialed struct {
	session *Session
	err     error
}

// dialFirst begins the handshakes of plan, the next one early if all that have begun have failed, and returns the
// first session. It fails once every address has failed, or a single address has refused.
func (e *Endpoint) dialFirst(ctx context.Context, p *Peer, addrs []netip.AddrPort, plan []dialAt) (*Session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errAnswered)
	results := make(chan dialed, len(plan))
	timer := time.NewTimer(0)
	defer timer.Stop()
	var failed []error
	begun := 0
	next := func() {
		ap := plan[begun].addr
		begun++
		if !e.group.Go(func(context.Context) {
			s, err := e.dialAddr(ctx, p, ap)
			results <- dialed{s, err}
		}) {
			results <- dialed{nil, &Error{Reason: ReasonClosed, NotProcessed: true, Err: ErrClosed}}
		}
		if begun < len(plan) {
			timer.Reset(plan[begun].after)
		}
	}
	for {
		select {
		case <-timer.C:
			next()
		case r := <-results:
			if r.err == nil {
				e.group.Go(func(context.Context) { leaveLosers(results, begun-len(failed)-1) })
				return r.session, nil
			}
			failed = append(failed, r.err)
			switch {
			case len(addrs) == 1 && (len(failed) == begun || errors.Is(r.err, errRefused)):
				// Asking the same address again at once would not tell more.
				return nil, r.err
			case len(failed) < begun:
				// Other handshakes are still in flight.
			case begun < len(addrs):
				timer.Stop()
				next()
			default:
				return nil, worst(failed, addrs)
			}
		}
	}
}

var errAnswered = errors.New("another address answered first")

// leaveLosers closes the sessions of dials that were still in flight when another
// address answered.
func leaveLosers(results <-chan dialed, left int) {
	for range left {
		if r := <-results; r.session != nil {
			r.session.retire(wire.CodeIdle)
		}
	}
}

// worst returns the error that says most about why none of the addresses can be reached:
// a wrong answer takes precedence over no answer.
func worst(failed []error, addrs []netip.AddrPort) error {
	out := failed[0]
	for _, err := range failed {
		if te, ok := errors.AsType[*Error](err); ok && te.Reason != ReasonUnreachable {
			out = err
			break
		}
	}
	te, ok := errors.AsType[*Error](out)
	if !ok {
		return out
	}
	whole := *te
	whole.Detail = fmt.Sprintf("none of its %d addresses %v can be used", len(addrs), addrs)
	if te.Detail != "" {
		whole.Detail += ": " + te.Detail
	}
	return &whole
}

// dialAddr connects to the peer at one address.
func (e *Endpoint) dialAddr(ctx context.Context, p *Peer, to netip.AddrPort) (*Session, error) {
	addr := p.key.addr
	conn, own, err := e.handshake(ctx, p, to)
	if err != nil {
		return nil, dialError(addr, e.cfg.Protocol, err)
	}
	who, err := e.cfg.Identify(conn.TLS(), own.get())
	if err != nil {
		conn.Close(wire.CodeInternal, "identity")
		return nil, &Error{Reason: ReasonIdentity, Peer: addr, NotProcessed: true, Err: err}
	}
	return e.greet(ctx, conn, who, p)
}

// greet makes a session of a connection that was dialed to a known peer. It returns once the peer's SETUP has arrived.
func (e *Endpoint) greet(ctx context.Context, conn carrier.Conn, who Identity, p *Peer) (*Session, error) {
	addr := p.key.addr
	s := e.newSession(conn, who, p)
	if !e.add(s) {
		s.close(wire.CodeGoingAway, "closed")
		return nil, &Error{Reason: ReasonClosed, NotProcessed: true, Err: ErrClosed}
	}
	if !e.group.Go(func(context.Context) { s.finish() }) {
		s.close(wire.CodeGoingAway, "closed")
		s.finish()
		return nil, &Error{Reason: ReasonClosed, NotProcessed: true, Err: ErrClosed}
	}
	// The dialing side serves nothing here, so it announces no routes, and MaxMessage is for
	// replies rather than for the messages that routes take.
	setup, _ := e.cfg.Setup()
	setup.MaxMessage = uint64(e.limits.MaxMessage)
	if err := s.open(&setup, nil); err != nil {
		s.close(wire.CodeInternal, "no CONTROL stream")
		return nil, dialError(addr, e.cfg.Protocol, err)
	}
	s.catchUp(&setup)
	s.group.Go(s.acceptUni)
	// The session of a peer that drains closes by itself.
	select {
	case <-s.remote.ready:
		if s.isDraining() {
			return nil, &Error{Reason: ReasonDraining, Peer: addr, NotProcessed: true}
		}
		s.touch(time.Now())
		return s, nil
	case <-s.Done():
		if s.isDraining() {
			return nil, &Error{Reason: ReasonDraining, Peer: addr, NotProcessed: true}
		}
		return nil, dialError(addr, e.cfg.Protocol, conn.Cause())
	case <-ctx.Done():
		s.close(wire.CodeProtocol, "no SETUP in time")
		return nil, dialError(addr, e.cfg.Protocol, fmt.Errorf("%w: %w", errNoSetup, context.Cause(ctx)))
	}
}

var errNoSetup = errors.New("the peer sent no SETUP")

// handshake makes a connection to one address. It gives up as soon as the peer's host
// reports that nobody listens there.
func (e *Endpoint) handshake(ctx context.Context, p *Peer, to netip.AddrPort) (quicconn.Conn, *ownLeaf, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	knocked := make(chan struct{})
	if !e.group.Go(func(context.Context) {
		defer close(knocked)
		if backoff.Sleep(ctx, knockAfter) == nil && e.knock(ctx, to) {
			cancel(errRefused)
		}
	}) {
		return quicconn.Conn{}, nil, ErrClosed
	}
	own, conf := new(ownLeaf), p.conf.Load().TLS()
	own.watch(conf)
	conn, err := e.quic.Dial(withOwner(ctx), to, conf)
	switch {
	case err == nil:
	case errors.Is(err, errRefused), errors.Is(context.Cause(ctx), errRefused):
		err = errRefused
	case isTimeout(err):
		// The timeout is that of the carrier, which is as long as that of ctx.
		err = p.silence()
	}
	cancel(nil)
	<-knocked
	return conn, own, err
}

// errRefused is the error of a dial to an address where nobody listens.
var errRefused = errors.New("connection refused: its host reports that nothing is listening on the port")
