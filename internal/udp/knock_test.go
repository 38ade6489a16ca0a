package udp

import (
	"context"
	"net"
	"net/netip"
	"testing"
)

// listener returns a real UDP socket and its address.
func listener(t *testing.T, network, addr string) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	to, err := net.ResolveUDPAddr(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP(network, to)
	if err != nil {
		t.Fatal(err)
	}
	// Close fails if the test has closed the socket itself.
	t.Cleanup(func() { _ = conn.Close() })
	return conn, netip.MustParseAddrPort(conn.LocalAddr().String())
}

// TestKnock knocks at a port of this machine, once while somebody listens and once when nobody does.
func TestKnock(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			conn, at := listener(t, "udp", addr)
			heard := make(chan []byte, 1)
			go func() {
				b := make([]byte, 2*knockSize)
				// Read fails if the test ends first.
				n, _ := conn.Read(b)
				heard <- b[:n]
			}()
			ctx, cancel := context.WithCancel(t.Context())
			result := make(chan bool)
			go func() { result <- Knock(ctx, at.Addr(), at) }()
			if b := <-heard; len(b) != knockSize || b[0]&0xc0 != 0 {
				t.Errorf("the knock is %x, want %d bytes that are not a QUIC packet", b, knockSize)
			}
			// No report has arrived so far.
			cancel()
			if <-result {
				t.Error("somebody listens, and the knock says that nobody does")
			}
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
			if !Knock(t.Context(), at.Addr(), at) {
				t.Error("nobody listens, and the knock does not say so")
			}
		})
	}
}

// TestKnockEndsWithItsContext checks that a knock stops waiting for an answer when its context ends.
func TestKnockEndsWithItsContext(t *testing.T) {
	_, at := listener(t, "udp", "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if Knock(ctx, at.Addr(), at) {
		t.Error("a knock that was over before it began says that nobody listens")
	}
}
