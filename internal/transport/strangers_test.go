package transport

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/ipv4"
)

// TestWhatAStrangerSendsOfOneHandshakeIsBounded, and dropped before QUIC sees it, counted and
// logged; handshakes of others, and what is established, go on beside it.
func TestWhatAStrangerSendsOfOneHandshakeIsBounded(t *testing.T) { // SEC-389
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		honest := w.quiet("web", Limits{}).connect(server)
		from := w.socket()
		const size, fit, flood = 1200, 220, 500
		p := newInitials(t, 1)
		for i := range 4 {
			_, _ = from.WriteTo(p.next(size, cryptoBytes(nil, 2*fit*i+1, fit)), server.Addr())
		}
		for range flood { // what is there already, behind 900 gaps
			_, _ = from.WriteTo(p.next(size, cryptoBytes(nil, 6*fit+1, fit)), server.Addr())
		}
		settle()
		want := uint64(4 + flood - maxHandshakeDatagrams)
		if got := server.Refused()[refusedFlood]; got != want {
			t.Errorf("%d datagrams were dropped, want %d", got, want)
		}
		if !server.log.contains("refusing connections", "reason=flood", from.LocalAddr().String()) {
			t.Error("the log does not say so")
		}
		if n := server.gate.places.Used(); n != 1 {
			t.Errorf("%d handshakes are under way, want 1: the packets were not such as QUIC takes", n)
		}
		mustEcho(t, honest)
		mustEcho(t, w.quiet("web", Limits{}).connect(server))
	})
}

// TestDatagramsOfStrangersAreDroppedBySocketsOfAllKinds, and no others.
func TestDatagramsOfStrangersAreDroppedBySocketsOfAllKinds(t *testing.T) { // SEC-389
	long := func(id byte, body string) []byte {
		return append([]byte{0xc3, 0, 0, 0, 1, 8, id, 0, 0, 0, 0, 0, 0, 0, 0, 0}, body...)
	}
	for name, kind := range map[string]func(conn *net.UDPConn) net.PacketConn{
		"of the system":         func(conn *net.UDPConn) net.PacketConn { return conn },
		"with control messages": func(conn *net.UDPConn) net.PacketConn { return &faultyUDP{conn, &faulty{}} },
		"any":                   func(conn *net.UDPConn) net.PacketConn { return struct{ net.PacketConn }{conn} },
	} {
		t.Run(name, func(t *testing.T) {
			in, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close() //nolint:errcheck // nothing is lost with it
			dropped := 0
			conn := sturdySocket(kind(in), nil, nil, func(string, string) { dropped++ })
			out, err := net.Dial("udp", in.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close() //nolint:errcheck // as above
			var got []string
			read := func() { // a datagram or several
				ms := make([]ipv4.Message, 8)
				for i := range ms {
					ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 1500)}, make([]byte, 128)
				}
				n := 1
				if b, ok := conn.(batchConn); ok {
					n, err = b.ReadBatch(ms, 0)
				} else {
					ms[0].N, _, err = conn.ReadFrom(ms[0].Buffers[0])
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range ms[:n] {
					if m.N > 0 {
						got = append(got, string(m.Buffers[0][m.N-1:m.N]))
					}
				}
			}
			send := func(b []byte) {
				if _, err := out.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			for range maxHandshakeDatagrams {
				send(long(1, "a"))
				read()
			}
			for range 3 {
				send(long(1, "x"))
			}
			send(long(2, "b"))
			send([]byte("\x40short c"))
			for len(got) < maxHandshakeDatagrams+2 {
				read()
			}
			if last := fmt.Sprint(got[maxHandshakeDatagrams-1:]); last != "[a b c]" || dropped != 3 {
				t.Errorf("got %s at last, and %d were dropped, want [a b c] and 3", last, dropped)
			}
		})
	}
}

// TestHandshakesThatOnePlaceBeginsAreBounded though none is under way for long, and nobody is
// refused whose address somebody else may have forged.
func TestHandshakesThatOnePlaceBeginsAreBounded(t *testing.T) { // SEC-389
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{RetryRate: 1 << 20})
		g := server.gate
		begin := func(ip string, validated bool) error {
			v, err := visit(g, ip, validated)
			if err == nil {
				v.fail()
				synctest.Wait()
			}
			return err
		}
		for i := range startBurst {
			if err := begin("10.1.0.1", true); err != nil {
				t.Fatalf("handshake %d: %v", i, err)
			}
		}
		if begin("10.1.0.1", true) == nil {
			t.Error("one more than startBurst was admitted")
		}
		if got := server.Refused()[refusedFlood]; got != 1 {
			t.Errorf("%d were counted, want 1", got)
		}
		if err := begin("10.1.0.2", true); err != nil {
			t.Errorf("another place: %v", err)
		}
		pass(time.Second)
		for i := range startRate {
			if err := begin("10.1.0.1", true); err != nil {
				t.Fatalf("handshake %d of the next second: %v", i, err)
			}
		}
		// Whoever forges an address makes its host validate it, and no more.
		for range 10 * startBurst {
			g.mustValidate(udp("10.1.0.3"))
			if err := begin("10.1.0.3", false); err != nil {
				t.Fatal(err)
			}
		}
		if !g.mustValidate(udp("10.1.0.3")) {
			t.Error("an address from which many handshakes begin need not be validated")
		}
		if err := begin("10.1.0.3", true); err != nil {
			t.Errorf("the host whose address was forged: %v", err)
		}
		for i := range 2 * maxStarters {
			_ = g.mustValidate(udp(netip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)}).String()))
		}
		if n := g.started.seen.Len(); n != maxStarters || len(g.started.of) != n {
			t.Errorf("%d places are remembered, want %d", n, maxStarters)
		}
	})
}
