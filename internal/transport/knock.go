package transport

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/linkmesh/link/internal/udp"
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

// knock asks the host of an address whether anybody listens there. It does not use the
// endpoint's socket, see [udp.Knock].
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
		return udp.Knock(ctx, addrPort(conn.LocalAddr()).Addr(), addr)
	}
	return false
}
