package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/share/sharetest"
)

func udpAddr(ip string) *net.UDPAddr { return &net.UDPAddr{IP: net.ParseIP(ip), Port: 4242} }

// visitor is a handshake that can fail or complete.
type visitor struct {
	ctx  context.Context //nolint:containedctx // the connection's
	fail context.CancelFunc
}

// visit begins a handshake at the gate. validated means that the address has been validated.
func visit(g *gate, ip string, validated bool) (visitor, error) {
	ctx, cancel := context.WithCancel(context.Background())
	ctx, err := g.admit(ctx, udpAddr(ip), validated)
	if err != nil {
		cancel()
	}
	return visitor{ctx, cancel}, err
}

func (g *gate) empty() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.places.Used() == 0 && g.unvalidated == 0
}

func TestGateBoundsHandshakes(t *testing.T) {
	limits := Limits{Handshakes: HandshakeLimits{Pending: 100, PerSource: 4, RetryAbove: 1000, RetryRate: 1e6}}.withDefaults()
	for _, test := range []struct {
		name      string
		ip        func(i int) string
		validated bool
		want      int
	}{
		{"one IPv4 address", func(int) string { return "192.0.2.1" }, false, 4},
		{"one IPv4 address, written as IPv6", func(i int) string { return [...]string{"192.0.2.1", "::ffff:192.0.2.1"}[i%2] }, false, 4},
		{"one IPv6 host that owns a /64", func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }, false, 4},
		{"a validated address", func(int) string { return "192.0.2.1" }, true, 100 / 2},
		{"two validated addresses", func(i int) string { return fmt.Sprintf("192.0.2.%d", i/250) }, true, 100/2 + 100/4},
		{"many addresses", func(i int) string { return fmt.Sprintf("198.51.100.%d", i%250) }, false, 100},
		{"many IPv6 networks", func(i int) string { return fmt.Sprintf("2001:db8:%x::1", i) }, false, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate(limits)
				var in []visitor
				for i := range 500 {
					v, err := visit(g, test.ip(i), test.validated)
					switch {
					case err == nil:
						in = append(in, v)
					case !errors.Is(err, errTooManyHandshakes):
						t.Fatal(err)
					}
				}
				if len(in) != test.want {
					t.Errorf("%d handshakes were admitted, want %d", len(in), test.want)
				}
				// Half of the handshakes complete, half fail, and some do both.
				for i, v := range in {
					if i%2 == 0 {
						handshakeDone(v.ctx)
					}
					if i%3 == 0 || i%2 == 1 {
						v.fail()
					}
				}
				synctest.Wait()
				if !g.empty() {
					t.Errorf("places were not given back: %d, %d unvalidated", g.places.Used(), g.unvalidated)
				}
				if _, err := visit(g, test.ip(499), false); !errors.Is(err, errTooManyHandshakes) {
					t.Errorf("a packet that follows a refused one: %v, want it refused too", err)
				}
				pass(2*refuseFor + 1)
				if _, err := visit(g, test.ip(0), false); err != nil {
					t.Errorf("the next one: %v", err)
				}
				for _, v := range in {
					v.fail()
				}
			})
		})
	}
}

// TestOneAddressLeavesOthersTheirHandshakes checks that one address cannot use up the handshakes of
// others. Names do not count here, because they are not proven before the handshake.
func TestOneAddressLeavesOthersTheirHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(Limits{Handshakes: HandshakeLimits{Pending: 100, PerSource: 4, RetryAbove: 1000, RetryRate: 1e6}}.withDefaults())
		var in []visitor
		var refused error
		sharetest.Drive(t, sharetest.Bound{
			Used: g.places.Used, Limit: g.places.Limit, Tries: 200,
			Take: func(m sharetest.Member) {
				v, err := visit(g, host(m), true)
				if err == nil {
					in = append(in, v)
				} else {
					refused = err
				}
			},
			Told: func() bool { return errors.Is(refused, errTooManyHandshakes) },
			Use: func(others []sharetest.Member) error {
				for _, m := range others {
					for range floorHandshakes {
						v, err := visit(g, host(m), true)
						if err != nil {
							return fmt.Errorf("%s: %w", m.Addr, err)
						}
						defer v.fail()
					}
				}
				return nil
			},
			Leave: func() {
				for _, v := range in {
					v.fail()
				}
				synctest.Wait()
			},
		}, false)
	})
}

func host(m sharetest.Member) string {
	// The addresses of sharetest are valid.
	ip, _, _ := net.SplitHostPort(m.Addr)
	return ip
}

func TestGateRefusesOnlyTheSourceThatIsFull(t *testing.T) {
	g := newGate(Limits{Handshakes: HandshakeLimits{PerSource: 1}}.withDefaults())
	for _, test := range []struct {
		ip   string
		want bool
	}{{"192.0.2.1", true}, {"192.0.2.1", false}, {"192.0.2.2", true}, {"2001:db8::1", true}, {"2001:db8::2", false}, {"2001:db8:0:1::1", true}} {
		v, err := visit(g, test.ip, false)
		defer v.fail()
		if (err == nil) != test.want {
			t.Errorf("%s: %v, want admitted: %t", test.ip, err, test.want)
		}
	}
}

func TestGateAsksForValidation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(Limits{Handshakes: HandshakeLimits{RetryAbove: 14, RetryRate: 1e6, PerSource: 8}}.withDefaults())
		if g.mustValidate(udpAddr("192.0.2.1")) {
			t.Error("the first handshake must validate its address")
		}
		var in []visitor
		add := func(ip string, validated bool) {
			v, err := visit(g, ip, validated)
			if err != nil {
				t.Fatal(err)
			}
			in = append(in, v)
		}
		for range 8 {
			add("192.0.2.1", false)
		}
		if !g.mustValidate(udpAddr("192.0.2.1")) || g.mustValidate(udpAddr("192.0.2.2")) {
			t.Error("a source whose room is in use must validate, and no other")
		}
		for i := range 6 {
			add(fmt.Sprintf("198.51.100.%d", i), i < 3)
		}
		if g.mustValidate(udpAddr("203.0.113.1")) {
			t.Error("validated handshakes count as unvalidated ones")
		}
		for i := range 3 {
			add(fmt.Sprintf("198.51.100.%d", 100+i), false)
		}
		if !g.mustValidate(udpAddr("203.0.113.1")) {
			t.Error("above RetryAbove, a new source need not validate")
		}
		for _, v := range in {
			v.fail()
		}
		synctest.Wait()
		if g.mustValidate(udpAddr("203.0.113.1")) {
			t.Error("after the rush, a new source must still validate")
		}
	})
}

func TestGateBoundsTheRateOfUnvalidatedHandshakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(Limits{Handshakes: HandshakeLimits{RetryRate: 50}}.withDefaults())
		free := func() (n int) {
			for i := range 500 {
				if !g.mustValidate(udpAddr(fmt.Sprintf("10.0.%d.%d", i/250, i%250))) {
					n++
				}
			}
			return n
		}
		if n := free(); n != 50 {
			t.Errorf("%d went in unvalidated at once, want 50", n)
		}
		pass(time.Second)
		if n := free(); n != 50 {
			t.Errorf("%d went in unvalidated a second later, want 50", n)
		}
	})
}

func TestSourceOfAnUnknownAddress(t *testing.T) {
	if a, b := source(&net.UnixAddr{Name: "x"}), source(&net.UDPAddr{}); a != b {
		t.Errorf("what has no address is at %s and at %s, want one place", a, b)
	}
}

// TestFloodOfInitials sends Initial packets from many hosts that never finish a handshake, like a flood
// from spoofed addresses.
func TestFloodOfInitials(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		limits := Limits{Handshakes: HandshakeLimits{Pending: 30, PerSource: 4, RetryAbove: 10, RetryRate: 1000}}
		server := w.node("orders", limits)
		honest := w.quiet("web", Limits{}).connect(server)
		flooding := make(map[string]bool)
		var most int
		// No packet reaches the flooding hosts.
		w.lose(func(p packet) bool {
			server.gate.mu.Lock()
			most = max(most, int(server.gate.places.Used()))
			server.gate.mu.Unlock()
			return flooding[p.To.String()]
		})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 100 {
			tr := &quic.Transport{Conn: w.socket()}
			w.mu.Lock()
			flooding[tr.Conn.LocalAddr().String()] = true
			w.mu.Unlock()
			wg.Go(func() {
				_, err := tr.Dial(ctx, server.Addr(), honestTLS(w, server), rawConfig())
				if err == nil {
					t.Error("a handshake succeeded without hearing anything")
				}
				_ = tr.Close()
			})
		}
		pass(500 * time.Millisecond)
		server.gate.mu.Lock()
		unvalidated := server.gate.unvalidated
		server.gate.mu.Unlock()
		if unvalidated != limits.Handshakes.RetryAbove {
			t.Errorf("%d unvalidated handshakes are under way, want those up to RetryAbove, the others got a Retry", unvalidated)
		}
		mustEcho(t, honest)
		// A new client validates its address and is admitted.
		mustEcho(t, w.quiet("web", Limits{}).connect(server))
		cancel()
		wg.Wait()
		pass(30 * time.Second)
		if most > limits.Handshakes.Pending {
			t.Errorf("%d handshakes were under way, want %d at most", most, limits.Handshakes.Pending)
		}
		if !server.gate.empty() {
			t.Error("handshakes that failed keep their places")
		}
	})
}

// TestManyNodesAtOnceAllGetIn begins more handshakes at once than quic-go's accept queue and the gate have
// room for.
func TestManyNodesAtOnceAllGetIn(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{Handshakes: HandshakeLimits{Pending: 20, RetryAbove: 10}})
		var wg sync.WaitGroup
		for i := range 80 {
			client := w.quiet("web", Limits{})
			p := client.peer(server)
			wg.Go(func() {
				// If all began at the same instant, quic-go would drop most of its answers.
				idle(time.Duration(i) * time.Millisecond / 2)
				s, err := p.Session(t.Context(), ClassCalls)
				if err != nil {
					t.Errorf("dialing: %v", err)
					return
				}
				if _, _, err := call(t.Context(), s, "echo", "hi"); err != nil {
					t.Errorf("calling: %v", err)
				}
			})
		}
		wg.Wait()
		settle()
		if !server.gate.empty() {
			t.Error("handshakes that are over keep their places")
		}
	})
}

// TestAcceptQueueOverflowRecovers checks that dials that found the accept queue full are retried. The
// accept loop does not run at first, so that handshakes fill the queue.
func TestAcceptQueueOverflowRecovers(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.quiet("orders", Limits{Handshakes: HandshakeLimits{PerSource: 1000}})
		l, err := server.quic.Listen(server.serverTLS())
		if err != nil {
			t.Fatal(err)
		}
		server.listener.Store(l)
		var wg sync.WaitGroup
		client := w.quiet("web", Limits{})
		for i := range 60 {
			p := client.peerAt(server.id, server.addr)
			// Each peer has its own key, so that each dials.
			p = client.Peer(fmt.Sprint(i), server.addr, *p.conf.Load())
			defer p.Release()
			wg.Go(func() {
				if _, err := p.Session(t.Context(), ClassCalls); err != nil {
					t.Errorf("dialing: %v", err)
				}
			})
		}
		// Meanwhile the queue of 32 connections fills.
		pass(300 * time.Millisecond)
		server.group.Go(func(ctx context.Context) { server.accept(ctx, l) })
		wg.Wait()
		mustEcho(t, client.connect(server))
	})
}

// TestWhoMustPauseProvesNothing checks that a peer that must pause is refused with its first packet rather
// than asked to validate its address, and does not use up the unvalidated handshakes of others.
func TestWhoMustPauseProvesNothing(t *testing.T) { // SEC-383
	synctest.Test(t, func(t *testing.T) {
		const rate = 10
		g := newGate(Limits{Handshakes: HandshakeLimits{RetryRate: rate}}.withDefaults())
		addr := udpAddr("192.0.2.1")
		socket, _ := atAddress(addrPort(addr))
		for range int(socketTerms.free) + 1 {
			g.debts.charge(socket, time.Now())
		}
		for range 2 * rate {
			if g.mustValidate(addr) {
				t.Fatal("one who must pause is asked to prove its address")
			}
		}
		if g.mustValidate(udpAddr("192.0.2.2")) {
			t.Error("another one must prove its address for what the first has sent")
		}
		if _, err := visit(g, "192.0.2.1", false); err == nil {
			t.Error("one who must pause is admitted")
		}
		pass(firstPause - time.Millisecond)
		if _, err := visit(g, "192.0.2.1", false); err == nil {
			t.Error("one who must pause is admitted")
		}
		pass(time.Millisecond)
		for range 2 * rate {
			if g.mustValidate(addr) {
				t.Fatal("one who was refused a moment ago is asked to prove its address")
			}
		}
		pass(2 * refuseFor)
		for range rate {
			g.mustValidate(addr)
		}
		if !g.mustValidate(addr) {
			t.Error("after the pause, many handshakes need no proof of an address")
		}
	})
}
