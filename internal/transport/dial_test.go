package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/linkmesh/link/internal/transport/quicconn"
	"github.com/linkmesh/link/internal/wire"
)

func sessions(e *Endpoint) int {
	e.known.mu.Lock()
	defer e.known.mu.Unlock()
	return len(e.known.sessions)
}

func TestManyCallersShareOneDial(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		p := client.peer(server)
		if p.Live(ClassCalls) != nil {
			t.Error("there is a session before the first dial")
		}
		got := make([]*Session, 100)
		var wg sync.WaitGroup
		for i := range got {
			wg.Go(func() {
				s, err := p.Session(t.Context(), ClassCalls)
				if err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
				got[i] = s
			})
		}
		wg.Wait()
		for i, s := range got {
			if s != got[0] {
				t.Fatalf("caller %d has another session than caller 0", i)
			}
		}
		settle()
		if a, b := sessions(client.Endpoint), sessions(server.Endpoint); a != 1 || b != 1 {
			t.Errorf("%d sessions here and %d there, want one", a, b)
		}
		if p.Live(ClassCalls) != got[0] || p.Live(ClassBulk) != nil {
			t.Error("the live sessions are not the one that was dialed")
		}
		if bulk, err := p.Session(t.Context(), ClassBulk); err != nil || bulk == got[0] {
			t.Errorf("class bulk has the same connection, or none: %v", err)
		}
	})
}

func TestEqualPeersAreOne(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		a, b := client.peer(server), client.peer(server)
		if a != b {
			t.Error("the same identity at the same address is two peers")
		}
		if c := client.peerAt(w.ca.ID("billing"), server.addr); c == a {
			t.Error("another identity at the same address is the same peer")
		}
	})
}

func TestReleasedPeerEndsWithItsIdleConnection(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{SessionIdle: time.Minute})
		p := client.Peer("id", server.addr, *client.peer(server).conf.Load())
		s, err := p.Session(t.Context(), ClassCalls)
		if err != nil {
			t.Fatal(err)
		}
		p.Release()
		client.known.mu.Lock()
		_, kept := client.known.peers[p.key]
		client.known.mu.Unlock()
		if kept {
			t.Error("the endpoint keeps a peer that nobody holds")
		}
		mustEcho(t, s)
		pass(time.Minute + 3*time.Second)
		if !s.ended() || sessions(client.Endpoint) != 0 || sessions(server.Endpoint) != 0 {
			t.Error("the idle connection of a released peer lives on")
		}
	})
}

func TestFailedDialBacksOff(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		w.lose(func(simnet.Packet) bool { return true })
		p := client.peer(server)
		_, first := p.Session(t.Context(), ClassCalls)
		mustFail(t, first, ReasonUnreachable)
		w.lose(nil)
		start := time.Now()
		_, second := p.Session(t.Context(), ClassCalls)
		if !errors.Is(second, first) || time.Since(start) != 0 {
			t.Errorf("the next caller got %v after %v, want the same error at once", second, time.Since(start))
		}
		if again := p.RetryAt(ClassCalls); time.Until(again) < 4*time.Second {
			t.Errorf("may be dialed again after %v, want no sooner than it took to notice", time.Until(again))
		}
		pass(time.Until(p.RetryAt(ClassCalls)))
		s, err := p.Session(t.Context(), ClassCalls)
		if err != nil {
			t.Fatalf("after the backoff: %v", err)
		}
		mustEcho(t, s)
	})
}

// TestADialBeginsAnew checks that a dial begins another handshake while nobody answers. A network that comes back is thus
// used soon, rather than when QUIC next resends its first packet.
func TestADialBeginsAnew(t *testing.T) {
	for away := 500 * time.Millisecond; away < 4500*time.Millisecond; away += 250 * time.Millisecond {
		inWorld(t, func(w *world) {
			t := w.t
			server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
			w.lose(func(simnet.Packet) bool { return true })
			var healed time.Time
			time.AfterFunc(away, func() {
				healed = time.Now()
				w.lose(nil)
			})
			mustEcho(t, client.connect(server))
			if took := time.Since(healed); took > 900*time.Millisecond {
				t.Errorf("the network was away for %v, and it took %v to use it", away, took)
			}
			pass(2 * time.Second)
			if n := len(server.acceptedSessions()); n != 1 {
				t.Errorf("the server has %d connections, want the one that is used", n)
			}
		})
	}
}

func TestNewsOfAPeerEndsItsBackoff(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		w.lose(func(simnet.Packet) bool { return true })
		p := client.peer(server)
		_, err := p.Session(t.Context(), ClassCalls)
		if e := failure(t, err, ReasonUnreachable); !containsAll(e.Error(), "no answer in 5s", "Limits.DialTimeout") {
			t.Errorf("%q does not say how long was waited", e)
		}
		w.lose(nil)
		p.Renew()
		if again := p.RetryAt(ClassCalls); !again.IsZero() {
			t.Errorf("may be dialed again at %v, want now", again)
		}
		s, err := p.Session(t.Context(), ClassCalls)
		if err != nil {
			t.Fatalf("after the news: %v", err)
		}
		mustEcho(t, s)
	})
}

func TestBackoffGrowsToItsMaximum(t *testing.T) {
	for n, most := 0, float64(backoffBase); n < 40; n, most = n+1, min(most*1.6, float64(backoffMax)) {
		for range 100 {
			if d := float64(pauses(backoffMax).Pause(n + 1)); d < most/2-1 || d > most+1 {
				t.Fatalf("backoff %d is %v, want between %v and %v", n, time.Duration(d), time.Duration(most/2), time.Duration(most))
			}
		}
	}
	if d := pauses(backoffMax).Pause(1 << 30); d > backoffMax {
		t.Errorf("after very many failures: %v", d)
	}
}

func TestDialOutlivesItsCaller(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		p := client.peer(server)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("changed my mind")
		go func() { pass(latency); cancel(why) }()
		_, err := p.Session(ctx, ClassCalls)
		e := failure(t, err, ReasonCanceled)
		if !errors.Is(e, why) || !e.NotProcessed {
			t.Errorf("the error is %v (not processed: %t), want the cause", e, e.NotProcessed)
		}
		settle()
		s := p.Live(ClassCalls)
		if s == nil {
			t.Fatal("the dial ended with its caller")
		}
		mustEcho(t, s)
	})
}

func TestDialAgainAfterTheConnectionEnded(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		s := client.connect(server)
		s.close(wire.CodeIdle, "test")
		_, _, err := call(t.Context(), s, "echo", "x")
		if e := failure(t, err, ReasonLost); !e.NotProcessed {
			t.Errorf("%q does not say that nothing was processed", e)
		}
		if next := client.connect(server); next == s {
			t.Error("got the ended session again")
		} else {
			mustEcho(t, next)
		}
	})
}

func TestDialOfADrainingServer(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		server.Endpoint.drain.begun.Store(true)
		_, err := client.peer(server).Session(t.Context(), ClassCalls)
		if e := failure(t, err, ReasonDraining); !e.NotProcessed {
			t.Errorf("%q does not say that nothing was processed", e)
		}
	})
}

func TestDialOfAClosedEndpoint(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		p := client.peer(server)
		w.lose(from(server.addr))
		result := make(chan error)
		go func() {
			_, err := p.Session(context.Background(), ClassCalls)
			result <- err
		}()
		synctest.Wait()
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		mustFail(t, <-result, ReasonClosed)
		_, err := p.Session(t.Context(), ClassCalls)
		mustFail(t, err, ReasonClosed)
	})
}

func TestDeadServerIsNoticed(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		limits := Limits{Silence: 2 * time.Second}
		server, client := w.node("orders", Limits{}), w.quiet("web", limits)
		s := client.connect(server)
		mustEcho(t, s)
		start := time.Now()
		go func() { pass(time.Second); w.lose(from(server.addr)) }()
		_, _, err := callWithin(t.Context(), s, time.Minute, "wait", "")
		if e := failure(t, err, ReasonLost); e.NotProcessed {
			t.Errorf("%q says that nothing was processed, but the handler ran", e)
		}
		if took, most := time.Since(start), time.Second+2*limits.Silence+limits.Silence/8; took > most {
			t.Errorf("noticed after %v, want %v at most", took, most)
		}
		w.lose(nil)
		mustEcho(t, client.connect(server))
	})
}

func TestSlowServerIsNotTakenForDead(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		s := client.connect(server)
		_, status, err := callWithin(t.Context(), s, 50*time.Second, "wait", "")
		if err == nil && status.Message == "deadline" {
			// The answer of the handler at its deadline came just in time.
			return
		}
		e := failure(t, err, ReasonCanceled)
		if !errors.Is(e, context.DeadlineExceeded) {
			t.Errorf("a slow call ended with %v", e)
		}
		mustEcho(t, s)
	})
}

func TestProbeFindsADeadServer(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		p := client.peer(server)
		s := client.connect(server)
		p.Probe()
		pass(10 * time.Second)
		if s.ended() {
			t.Fatal("a server that answers was given up")
		}
		w.lose(from(server.addr))
		p.Probe()
		pass(5 * time.Second)
		if !s.ended() {
			t.Error("a dead server was not given up")
		}
	})
}

func TestUnusedSessionEnds(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{SessionIdle: time.Minute})
		s := client.connect(server)
		for range 4 {
			pass(40 * time.Second)
			mustEcho(t, s)
		}
		pass(62 * time.Second)
		mustFail(t, callError(t, s), ReasonLost)
		if code := closeCode(s); code != wire.CodeIdle {
			t.Errorf("closed with %v, want IDLE", code)
		}
	})
}

// TestConnectionEndsInTheSecondOfItsCertificate checks that a connection is closed in the second in which the first of
// the two certificates expires. The dialing side sends new calls elsewhere before that, so only long calls are cut.
func TestConnectionEndsInTheSecondOfItsCertificate(t *testing.T) { // SEC-408
	for name, side := range map[string][2]bool{"both": {true, true}, "the server knows": {true, false}, "the client knows": {false, true}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				expires := time.Now().Add(20 * time.Minute)
				expiring := func(knows bool) nodeOption {
					return func(c *Config) {
						identify := c.Identify
						c.Identify = func(state tls.ConnectionState, own *x509.Certificate) (Identity, error) {
							id, err := identify(state, own)
							if knows {
								id.Expires = expires
							}
							return id, err
						}
					}
				}
				server := w.node("orders", Limits{}, expiring(side[0]))
				client := w.quiet("web", Limits{SessionIdle: 2 * time.Hour}, expiring(side[1]))
				server.handler.onCall("hold", func(c *Call) { <-c.Canceled().Done() })
				p := client.peer(server)
				s := client.connect(server)
				lasting := make(chan error, 1)
				go func() {
					_, _, err := callWithin(t.Context(), s, 2*time.Hour, "hold", "")
					lasting <- err
				}()
				pass(18*time.Minute - time.Second)
				if p.Live(ClassCalls) != s {
					t.Fatal("the session was retired too early")
				}
				pass(time.Minute + 2*time.Second)
				if live := p.Live(ClassCalls); (live == nil) != side[1] {
					t.Errorf("new calls go to %v a minute before the end, client knows: %v", live, side[1])
				}
				pass(time.Minute - 3*time.Second)
				select {
				case err := <-lasting:
					t.Fatalf("the connection ended before the certificate: %v", err)
				default:
				}
				pass(4 * time.Second)
				select {
				case err := <-lasting:
					mustFail(t, err, ReasonLost)
				default:
					t.Error("the connection outlives its certificate")
				}
			})
		})
	}
}

// TestAHandshakeThatABusyPeerLostIsMadeAgain covers both answers of a peer that cannot keep up with handshakes.
func TestAHandshakeThatABusyPeerLostIsMadeAgain(t *testing.T) {
	for name, err := range map[string]error{
		"an old token":      &quic.TransportError{Remote: true, ErrorCode: quic.InvalidToken},
		"a forgotten state": &quic.StatelessResetError{},
	} {
		e := dialError("192.0.2.1:1", wire.Protocol, quicconn.Translate(err))
		if e.Reason != ReasonOverloaded || !e.NotProcessed || e.Detail == "" {
			t.Errorf("%s: %v, not processed %t; want overloaded, which is tried again", name, e, e.NotProcessed)
		}
	}
}

// freshly is a socket whose first Knock closes refused and reports that nobody listens. Later ones get no answer.
type freshly struct {
	net.PacketConn

	knocked atomic.Bool
	refused chan struct{}
}

func (f *freshly) Knock(ctx context.Context, _ netip.AddrPort) bool {
	if !f.knocked.Swap(true) {
		close(f.refused)
		return true
	}
	<-ctx.Done()
	return false
}

// TestAProcessThatComesUpWhileItIsDialedIsReachedSoon has a process come up between the first packet of a dial and the
// knock that follows it, so that no report says that the packet was lost.
func TestAProcessThatComesUpWhileItIsDialedIsReachedSoon(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		refused := make(chan struct{})
		client := w.quiet("web", Limits{}, func(c *Config) { c.Conn = &freshly{PacketConn: c.Conn, refused: refused} })
		var begun atomic.Int64
		w.lose(func(p packet) bool {
			if p.From.String() != client.addr {
				return false
			}
			select {
			case <-refused:
				// Another dial begins. Its packets are lost until knockAfter has passed.
				now := time.Now().UnixNano()
				begun.CompareAndSwap(0, now)
				return now-begun.Load() < int64(knockAfter)
			default:
				return true
			}
		})
		start := time.Now()
		mustEcho(t, client.connect(server))
		if took := time.Since(start); took > knockAfter+3*refusedRetry {
			t.Errorf("it is connected after %v, want %v at most", took, knockAfter+3*refusedRetry)
		} else {
			t.Logf("connected after %v", took)
		}
		settle()
		w.lose(nil)
		mustEcho(t, client.connect(server))
		pass(2 * time.Second)
		if n := len(server.acceptedSessions()); n != 1 {
			t.Errorf("the server has %d connections, want the one that is used", n)
		}
	})
}

// TestAPeerGoesByWhoAskedForItLast checks that a peer uses the configuration of the last call of Endpoint.Peer, for tags
// and for where it may dial, even if an earlier caller, such as a service that was forgotten, has not released it yet.
func TestAPeerGoesByWhoAskedForItLast(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		first := client.peer(server)
		conf := *first.conf.Load()
		var heard int
		forbidden := errors.New("not here")
		conf.Tags = func(string, []string) { heard++ }
		conf.MayDial = func(netip.Addr) error { return forbidden }
		again := client.Peer(server.id.String(), server.addr, conf)
		defer again.Release()
		if again != first {
			t.Fatal("it is another peer")
		}
		_, err := first.Session(t.Context(), ClassCalls)
		if e := failure(t, err, ReasonForbidden); !errors.Is(e, forbidden) {
			t.Errorf("error %v", err)
		}
		conf.MayDial = nil
		defer client.Peer(server.id.String(), server.addr, conf).Release()
		pass(time.Minute) // the backoff after the failed dial
		if _, err := first.Session(t.Context(), ClassCalls); err != nil || heard != 1 {
			t.Errorf("connected with %v, and the tags were heard %d times", err, heard)
		}
	})
}
