package udp

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"time"
)

// Knock asks the host of addr whether anybody listens there: kernels report at once when a process is gone. It reports
// true if the host says that nobody does, and false if it says nothing until ctx ends, or cannot be asked.
//
// Knock sends a dedicated datagram from a dedicated socket, at the address local or, if that is not valid or not
// specified, at one that the kernel chooses. An answer proves that its sender has seen that datagram. Anybody could
// forge a report about packets of a socket whose addresses are known.
func Knock(ctx context.Context, local netip.Addr, addr netip.AddrPort) (refused bool) {
	return knock(ctx, local, addr)
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

// dialKnock returns a socket that is connected to addr, with the address local and a port of
// its own. Its reads and writes fail once ctx ends; done closes it.
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
