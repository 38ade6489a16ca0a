//go:build !linux

package udp

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
)

// knock reports whether the host of addr says that nobody listens there. Here the
// kernel does not say which datagram a report is about, so anybody who guesses the port of
// the socket could make one: two knocks in a row must agree.
func knock(ctx context.Context, local netip.Addr, addr netip.AddrPort) (refused bool) {
	return knockOnce(ctx, local, addr) && knockOnce(ctx, local, addr)
}

func knockOnce(ctx context.Context, local netip.Addr, addr netip.AddrPort) bool {
	conn, done, err := dialKnock(ctx, local, addr)
	if err != nil {
		return false
	}
	defer done()
	b := newKnock()
	if _, err := conn.Write(b[:]); err != nil {
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	for {
		_, err := conn.Read(b[:])
		switch {
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
			// ECONNRESET is what Windows reports.
			return true
		case err != nil:
			return false
		}
	}
}
