package transport

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"time"
)

// Knocker is a socket whose network can report that nobody listens at an address, as
// hosts do with ICMP. Sockets of package net need not implement it.
type Knocker interface {
	// Knock asks the host of addr whether anybody listens there. It reports true if
	// the host says that nobody does, and false if it says nothing until ctx ends.
	Knock(ctx context.Context, addr netip.AddrPort) (refused bool)
}

const (
	// knockWait is how long a knock waits for an answer.
	knockWait = 250 * time.Millisecond
	// knockAfter is how long a dial goes on before it knocks.
	knockAfter = 10 * time.Millisecond
	// maxKnocks is how many knocks one endpoint has in flight at once, as each takes a
	// socket. Without a knock, only silence tells that a peer is gone.
	maxKnocks = 64
)

// knock asks the host of an address whether anybody listens there: kernels report at
// once when a process is gone. It sends a dedicated datagram from a dedicated socket,
// so that an answer proves that its sender has seen that datagram. Anybody could forge
// a report about packets of the endpoint's socket, because its addresses are known.
func (e *Endpoint) knock(ctx context.Context, addr netip.AddrPort) (refused bool) {
	select {
	case e.knocks <- struct{}{}:
		defer func() { <-e.knocks }()
	default:
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, knockWait)
	defer cancel()
	switch conn := e.cfg.Conn.(type) {
	case Knocker:
		return conn.Knock(ctx, addr)
	case *net.UDPConn:
		return knockUDP(ctx, addrPort(conn.LocalAddr()).Addr(), addr)
	}
	return false
}

// knockSize is the length of the datagram of a knock.
const knockSize = 16

// newKnock returns a datagram that no QUIC endpoint takes for a packet, because its two
// upper bits are zero (RFC 9443), and that nobody can guess.
func newKnock() (b [knockSize]byte) {
	// rand.Read never fails.
	_, _ = rand.Read(b[:])
	b[0] = 0
	return b
}

// dialKnock returns a socket that is connected to addr, with the local address of the
// endpoint and a port of its own. Its reads and writes fail once ctx ends; done closes it.
func dialKnock(ctx context.Context, local netip.Addr, addr netip.AddrPort) (conn *net.UDPConn, done func(), err error) {
	var from *net.UDPAddr
	if local.IsValid() && !local.IsUnspecified() {
		from = net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	conn, err = net.DialUDP("udp", from, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, nil, err
	}
	// SetDeadline fails only if the socket is closed already.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() {
		stop()
		_ = conn.Close()
	}, nil
}
