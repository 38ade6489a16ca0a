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
	wideConns    = 64 // of Limits.ConnsPerProcess, one in so many begins with firstWindow
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

// resolve turns "host:port" into an address. Only names that are not addresses
// reach the resolver.
func resolve(ctx context.Context, addr string) (*net.UDPAddr, error) {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return net.UDPAddrFromAddrPort(ap), nil
	}
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(ips[0].Unmap(), uint16(port))), nil
}

// dial connects to the peer and returns when the peer's SETUP is there.
func (e *Endpoint) dial(ctx context.Context, p *Peer, class wire.Class) (*Session, error) {
	addr := p.key.addr
	udp, err := resolve(ctx, addr)
	if err != nil {
		return nil, &Error{Reason: ReasonUnreachable, Peer: addr, NotProcessed: true, Err: err}
	}
	if e.cfg.MayDial != nil {
		if err := e.cfg.MayDial(udp.AddrPort().Addr().Unmap()); err != nil {
			return nil, &Error{Reason: ReasonForbidden, Peer: addr, NotProcessed: true, Err: err}
		}
	}
	var own ownLeaf
	conf := p.conf.TLS()
	own.watch(conf)
	conn, err := e.quic.Dial(withOwner(ctx), udp, conf, e.clientConfig())
	if isTimeout(err) { // quic-go's own, which is set to the same time as that of ctx
		err = p.silence()
	}
	if err != nil {
		return nil, dialError(addr, e.cfg.Protocol, err)
	}
	s := e.newSession(conn, true, class)
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
	setup, _ := e.cfg.Setup() // the side that dials serves nothing here, so its routes are of no use
	setup.Class = class
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
		if s.isDraining() { // as above
			return nil, &Error{Reason: ReasonDraining, Peer: addr, NotProcessed: true}
		}
		return nil, dialError(addr, e.cfg.Protocol, context.Cause(conn.Context()))
	case <-ctx.Done():
		s.close(wire.CodeProtocol, "no SETUP in time")
		return nil, dialError(addr, e.cfg.Protocol, fmt.Errorf("%w: %w", errNoSetup, context.Cause(ctx)))
	}
}

var errNoSetup = errors.New("the peer sent no SETUP")
