package transport

import (
	"net"
	"slices"
	"testing"
)

// TestForgedRefusalIsIgnored is SEC-340: whoever knows the addresses of two nodes can
// send a report that nobody listens at one of them, but has not seen the datagram that it would
// have to be about. Here the kernel itself reports on other datagrams of the same socket.
func TestForgedRefusalIsIgnored(t *testing.T) {
	gone, at := listener(t, "udp", "127.0.0.1:0")
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	conn, done, err := dialKnock(t.Context(), at.Addr(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if err := reportErrors(conn); err != nil {
		t.Fatal(err)
	}
	knock := newKnock()
	for name, forged := range map[string][]byte{
		"another datagram":  make([]byte, knockSize),
		"a part of it":      knock[:knockSize-1],
		"more than it":      append(slices.Clone(knock[:]), 0),
		"all but one bit":   flip(knock),
		"a datagram before": func() []byte { b := newKnock(); return b[:] }(),
	} {
		if _, err := conn.Write(forged); err != nil {
			_, err = conn.Write(forged) // the report on the one before came as this error
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	// The reports are there: on loopback they come before Write returns. One on the knock itself is
	// found behind them.
	if found, left := reports(t, conn, knock[:]); found || left == 0 {
		t.Errorf("of %d reports on other datagrams, one was taken for one on the knock: %t", left, found)
	}
	if _, err := conn.Write(knock[:]); err != nil {
		if _, err := conn.Write(knock[:]); err != nil {
			t.Fatal(err)
		}
	}
	if !undelivered(conn, knock[:]) {
		t.Error("the report on the knock is not found")
	}
}

// flip returns the knock with another last bit.
func flip(knock [knockSize]byte) []byte { knock[knockSize-1] ^= 1; return knock[:] }

// reports takes the reports that are there, and returns whether one of them is on the datagram.
func reports(t *testing.T, conn *net.UDPConn, datagram []byte) (found bool, n int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		for {
			about, more := nextReport(int(fd), datagram)
			if !more {
				return
			}
			n++
			found = found || about
		}
	}); err != nil {
		t.Fatal(err)
	}
	return found, n
}
