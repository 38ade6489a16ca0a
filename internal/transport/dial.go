package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/wire"
)

// quicConfig is what both sides share. The sum of the credit that streams are
// granted stays below 3/4 of the connection's window, see [Stream.Grant].
func (e *Endpoint) quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:             e.limits.DialTimeout,
		MaxIdleTimeout:                   idleTimeout,
		InitialStreamReceiveWindow:       firstWindow / 2,
		MaxStreamReceiveWindow:           6 << 20,
		InitialConnectionReceiveWindow:   firstWindow,
		MaxConnectionReceiveWindow:       connWindow,
		MaxIncomingUniStreams:            16,
		RequireStreamCreditRelease:       true,
		EnableStreamResetPartialDelivery: true,
		AllowConnectionWindowIncrease:    e.mayGrow,
	}
}

// connWindow is the most that a peer may have in flight to us on one
// connection.
const connWindow = 32 << 20

// What a connection may have in flight to us before its window grows, see
// [Endpoint.mayGrow]. A peer that leaves a gap in each of its streams makes us hold it
// all, on as many connections as it has, so of many connections most begin narrow.
const (
	firstWindow  = 1 << 20
	narrowWindow = 128 << 10
	wideConns    = 64 // while fewer than a 64th of Limits.ConnsPerProcess are open, they begin with firstWindow
)

func (e *Endpoint) serverConfig() *quic.Config {
	c := e.quicConfig()
	c.MaxIncomingStreams = int64(e.limits.StreamsPerConnection)
	narrow := c.Clone()
	narrow.InitialStreamReceiveWindow, narrow.InitialConnectionReceiveWindow = narrowWindow, narrowWindow
	c.GetConfigForClient = func(*quic.ClientInfo) (*quic.Config, error) {
		if e.pools.conns.Used() >= e.pools.conns.Limit()/wideConns {
			return narrow, nil
		}
		return c, nil
	}
	return c
}

func (e *Endpoint) clientConfig() *quic.Config {
	c := e.quicConfig()
	c.MaxIncomingStreams = -1 // the side that dials is the side that calls
	c.KeepAlivePeriod = keepAlive
	return c
}

// headStart is how long one address of a name has to answer before the next is
// dialed beside it: the Connection Attempt Delay of RFC 8305, section 8.
const headStart = 250 * time.Millisecond

// renewDial is after how long a dial that nobody answers begins anew, beside the handshakes that it has begun: QUIC sends
// the first packet of a handshake again after twice the time each time, so that a network that comes back would find nobody who
// dials for seconds. In a dial of 5 s no two packets are further apart than 0.8 s.
const (
	renewDial   = 2 * time.Second
	maxRenewals = 8 // of one dial, for a DialTimeout that is long
)

// dial connects to the peer and returns when the peer's SETUP is there. A host name
// may have several addresses: each is dialed when the one before it has failed or had its
// head start, and the first that answers wins. While none does, they are dialed again after renewDial.
//
// Nobody listened a moment ago at an address that is dialed again: its process may come up between
// two packets, and QUIC sends the first one again only after 200 ms or so. A second dial begins beside
// the first one before that.
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

// dialAt is a handshake that begins so long after the one before it.
type dialAt struct {
	addr  netip.AddrPort
	after time.Duration
}

// allowed returns the addresses that may be dialed.
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

// dialed is how the dial of one address ended.
type dialed struct {
	session *Session
	err     error
}

// dialFirst makes handshakes as planned, the next at once when those that have begun have failed, and returns the
// first session. It fails when each address has.
func (e *Endpoint) dialFirst(ctx context.Context, p *Peer, addrs []netip.AddrPort, plan []dialAt) (*Session, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errAnswered)
	results := make(chan dialed, len(plan))
	timer := time.NewTimer(0) // the first begins at once
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
				e.group.Go(func(context.Context) { leaveLosers(results, begun-len(failed)-1) }) // what answers too late
				return r.session, nil
			}
			failed = append(failed, r.err)
			switch {
			case len(addrs) == 1 && (len(failed) == begun || errors.Is(r.err, errRefused)): // it says no more when it is asked again at once
				return nil, r.err
			case len(failed) < begun: // somebody else is being waited for
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

// leaveLosers closes the sessions of dials that were still under way when another
// address answered.
func leaveLosers(results <-chan dialed, left int) {
	for range left {
		if r := <-results; r.session != nil {
			r.session.retire(wire.CodeIdle)
		}
	}
}

// worst is the error that says most about why none of the addresses can be reached:
// somebody who answers wrongly before somebody who does not answer.
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
	s := e.newSession(conn, true)
	s.dialedAs = p
	who, err := e.cfg.Identify(conn.ConnectionState().TLS, own.get())
	if err != nil {
		s.close(wire.CodeInternal, "identity")
		return nil, &Error{Reason: ReasonIdentity, Peer: addr, NotProcessed: true, Err: err}
	}
	s.identify(who, time.Now())
	if !e.add(s) {
		s.close(wire.CodeGoingAway, "closed")
		return nil, &Error{Reason: ReasonClosed, NotProcessed: true, Err: ErrClosed}
	}
	if !e.group.Go(func(context.Context) { s.finish() }) {
		s.close(wire.CodeGoingAway, "closed")
		s.finish()
		return nil, &Error{Reason: ReasonClosed, NotProcessed: true, Err: ErrClosed}
	}
	setup, _ := e.cfg.Setup()                      // the side that dials serves nothing here, so its routes are of no use
	setup.MaxMessage = uint64(e.limits.MaxMessage) // for replies; what routes take is for those who call them
	if err := s.open(&setup, nil); err != nil {
		s.close(wire.CodeInternal, "no CONTROL stream")
		return nil, dialError(addr, e.cfg.Protocol, err)
	}
	s.catchUp(&setup)
	s.group.Go(s.acceptUni)
	select {
	case <-s.setup:
		if s.isDraining() { // it closes by itself
			return nil, &Error{Reason: ReasonDraining, Peer: addr, NotProcessed: true}
		}
		s.touch(time.Now())
		return s, nil
	case <-conn.Context().Done():
		if s.isDraining() { // it closes by itself
			return nil, &Error{Reason: ReasonDraining, Peer: addr, NotProcessed: true}
		}
		return nil, dialError(addr, e.cfg.Protocol, context.Cause(conn.Context()))
	case <-ctx.Done():
		s.close(wire.CodeProtocol, "no SETUP in time")
		return nil, dialError(addr, e.cfg.Protocol, fmt.Errorf("%w: %w", errNoSetup, context.Cause(ctx)))
	}
}

var errNoSetup = errors.New("the peer sent no SETUP")

// handshake makes a connection. It gives up as soon as the peer's host says that
// nobody listens there.
func (e *Endpoint) handshake(ctx context.Context, p *Peer, to netip.AddrPort) (*quic.Conn, *ownLeaf, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	knocked := make(chan struct{})
	if !e.group.Go(func(context.Context) {
		defer close(knocked)
		t := time.NewTimer(knockAfter)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		if e.knock(ctx, to) {
			cancel(errRefused)
		}
	}) {
		return nil, nil, ErrClosed
	}
	own, conf := new(ownLeaf), p.conf.Load().TLS()
	own.watch(conf)
	conn, err := e.quic.Dial(withOwner(ctx), net.UDPAddrFromAddrPort(to), conf, e.clientConfig())
	switch {
	case err == nil:
	case errors.Is(err, errRefused), errors.Is(context.Cause(ctx), errRefused):
		err = errRefused
	case isTimeout(err): // quic-go's own, which is set to the same time as that of ctx
		err = p.silence()
	}
	cancel(nil)
	<-knocked
	return conn, own, err
}

// errRefused is why a dial ended whose address is one where nobody listens.
var errRefused = errors.New("connection refused: nobody listens at this port, says its host")
