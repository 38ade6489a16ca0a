package udp

import (
	"net"
	"slices"
	"testing"
)

// TestForgedRefusalIsIgnored checks that only a report about the knock itself counts (SEC-340). Anybody
// who knows the addresses of two nodes can forge a report that nobody listens at one of them, but not a
// report about a datagram that they have not seen. Here the kernel reports on other datagrams of the socket.
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
			// The error was the report on the datagram before, and this one was not sent.
			_, err = conn.Write(forged)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	// All reports have arrived, because on loopback they arrive before Write returns. None is about the
	// knock. The report on the knock itself must be found afterwards.
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

// flip returns the knock with its last bit flipped.
func flip(knock [knockSize]byte) []byte { knock[knockSize-1] ^= 1; return knock[:] }

// reports takes all pending reports of the socket. It returns whether one of them says that nobody
// received the datagram, and how many there were.
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
