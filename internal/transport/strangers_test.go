package transport

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/linkmesh/link/internal/mtls" //nolint:depguard // as in network_test.go
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/internal/udp"
)

// TestWhatAStrangerSendsOfOneHandshakeIsBounded checks that excess datagrams are dropped before QUIC
// sees them, counted and logged, and that other handshakes and connections go on meanwhile.
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
		// The flood repeats bytes that have arrived, behind 900 gaps.
		for range flood {
			_, _ = from.WriteTo(p.next(size, cryptoBytes(nil, 6*fit+1, fit)), server.Addr())
		}
		settle()
		want := uint64(4 + flood - maxInitials)
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

// TestDatagramsOfStrangersAreDroppedBySocketsOfAllKinds checks also that no other datagrams are dropped.
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
			defer in.Close()
			dropped := 0
			met := newStrangers(func(string, string) { dropped++ })
			conn := udp.New(kind(in), udp.Config{Logger: slog.New(slog.DiscardHandler), Admit: met.admits})
			out, err := net.Dial("udp", in.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			var got []string
			// read reads a datagram, or several if the socket reads in batches.
			read := func() {
				ms := make([]ipv4.Message, 8)
				for i := range ms {
					ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 1500)}, make([]byte, 128)
				}
				n := 1
				if b, ok := conn.(interface {
					ReadBatch(ms []ipv4.Message, flags int) (int, error)
				}); ok {
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
			for range maxInitials {
				send(long(1, "a"))
				read()
			}
			for range 3 {
				send(long(1, "x"))
			}
			send(long(2, "b"))
			send([]byte("\x40short c"))
			for len(got) < maxInitials+2 {
				read()
			}
			if last := fmt.Sprint(got[maxInitials-1:]); last != "[a b c]" || dropped != 3 {
				t.Errorf("got %s at last, and %d were dropped, want [a b c] and 3", last, dropped)
			}
		})
	}
}

// TestHandshakesThatOnePlaceBeginsAreBounded checks the bound although no handshake is under way for
// long, and that a host is not refused because somebody else forges its address.
func TestHandshakesThatOnePlaceBeginsAreBounded(t *testing.T) { // SEC-389
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{Handshakes: HandshakeLimits{RetryRate: 1 << 20}})
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
		// Forging an address only makes its host validate it.
		for range 10 * startBurst {
			g.mustValidate(udpAddr("10.1.0.3"))
			if err := begin("10.1.0.3", false); err != nil {
				t.Fatal(err)
			}
		}
		if !g.mustValidate(udpAddr("10.1.0.3")) {
			t.Error("an address from which many handshakes begin need not be validated")
		}
		if err := begin("10.1.0.3", true); err != nil {
			t.Errorf("the host whose address was forged: %v", err)
		}
		for i := range 2 * maxStarters {
			_ = g.mustValidate(udpAddr(netip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)}).String()))
		}
		if n := g.started.seen.Len(); n != maxStarters || len(g.started.of) != n {
			t.Errorf("%d places are remembered, want %d", n, maxStarters)
		}
	})
}

// headerForm is set in the first byte of a packet of a handshake (RFC 8999, section 5.1).
const headerForm = 0x80

// TestTheLongestChainsAreShown checks that the bounds on datagrams leave room for the longest chains
// on both sides, even if every third packet of a handshake is lost.
func TestTheLongestChainsAreShown(t *testing.T) {
	long := securitytest.MutateLeaf(func(leaf *securitytest.Leaf) {
		leaf.Template.ExtraExtensions = append(leaf.Template.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: make([]byte, 14<<10)})
	})
	for _, loss := range []int{0, 3} {
		inWorld(t, func(w *world) {
			t := w.t
			withLong := func(service string) nodeOption {
				return func(c *Config) {
					source := w.ca.Source(service, long)
					c.ServerTLS = func(protocol string) *tls.Config { return mtls.Server(source, protocol) }
				}
			}
			server := w.node("orders", Limits{}, withLong("orders"))
			var sent, others atomic.Int64
			w.lose(func(p packet) bool {
				if p.Data[0]&headerForm == 0 {
					return false
				}
				if p.Data[0]&packetType != 0 {
					others.Add(1)
				}
				return loss > 0 && sent.Add(1)%int64(loss) == 0
			})
			client := w.quiet("web", Limits{DialTimeout: 20 * time.Second})
			client.source = w.ca.Source("web", long)
			mustEcho(t, client.connect(server))
			if n := others.Load(); n < 20 {
				t.Errorf("%d datagrams without Initial packets were sent: the chains were short", n)
			}
			for name, n := range map[string]*node{"server": server, "client": client} {
				if loss == 0 && n.Refused()[refusedFlood] != 0 {
					t.Errorf("the %s dropped %d datagrams", name, n.Refused()[refusedFlood])
				}
			}
		})
	}
}
