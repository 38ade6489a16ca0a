package transport

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// lookCost counts the looks of an endpoint at its peers, the questions to them and the knocks at their hosts.
type lookCost struct{ looks, questions, knocks uint64 }

func (e *Endpoint) lookCost() lookCost {
	l := &e.liveness
	return lookCost{l.looked.Load(), l.asked.Load(), l.knocks.Load()}
}

func (c lookCost) since(before lookCost) lookCost {
	return lookCost{c.looks - before.looks, c.questions - before.questions, c.knocks - before.knocks}
}

// TestTheCostOfLooksFollowsTheCallsUnderWay checks that the looks depend on the calls in flight and not on the
// connections: one call is held while a hundred other connections are idle.
func TestTheCostOfLooksFollowsTheCallsUnderWay(t *testing.T) {
	const spectators = 100
	inWorld(t, func(w *world) {
		t := w.t
		client := w.quiet("web", Limits{})
		for range spectators {
			mustEcho(t, client.connect(w.node("orders", Limits{})))
		}
		server := w.node("orders", Limits{})
		s := client.connect(server)
		settle()
		open := server.held("held")
		results := holdCalls(t.Context(), s, 1, "held")
		settle()
		before := client.lookCost()
		// The calls of holdCalls time out after 30 s.
		const seconds = 20
		pass(seconds * time.Second)
		cost := client.lookCost().since(before)
		// most bounds the looks at one session.
		const most = seconds * (urgentPart + easyPart)
		if cost.looks > most {
			t.Errorf("%d looks in %d s, want at most %d: one call is under way", cost.looks, seconds, most)
		}
		open()
		if failed := results(); len(failed) > 0 {
			t.Fatal(failed)
		}
		settle()
		pass(time.Second)
		before = client.lookCost()
		pass(time.Minute)
		if cost := client.lookCost().since(before); cost != (lookCost{}) {
			t.Errorf("nothing is under way, and in a minute there were %+v", cost)
		}
	})
}

// TestAHeldCallCostsAQuestionNowAndThen checks that a long call whose peer answers costs at most one question
// for each Limits.Silence, and no knock, which would take a socket.
func TestAHeldCallCostsAQuestionNowAndThen(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{MaxCallTime: time.Hour}), w.quiet("web", Limits{})
		s := client.connect(server)
		open := server.held("held")
		result := make(chan error, 1)
		go func() {
			_, _, err := callWithin(t.Context(), s, 20*time.Minute, "held", "")
			result <- err
		}()
		pass(10 * time.Second)
		before := client.lookCost()
		const minutes = 10
		pass(minutes * time.Minute)
		cost := client.lookCost().since(before)
		silences := uint64(minutes * time.Minute / client.limits.Silence)
		if cost.questions > silences || cost.looks > 8*silences || cost.knocks > 0 {
			t.Errorf("in %d min: %+v, want one question for each Limits.Silence, of which there were %d, and no host asked", minutes, cost, silences)
		}
		open()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
	})
}

// TestAPeerThatRunsALongCallIsGivenUpInTime checks that a peer that runs a long call is given up within twice
// Limits.Silence after it fell silent, however long it has answered before.
func TestAPeerThatRunsALongCallIsGivenUpInTime(t *testing.T) {
	for phase := range 10 {
		inWorld(t, func(w *world) {
			t := w.t
			server, client := w.node("orders", Limits{MaxCallTime: time.Hour}), w.quiet("web", Limits{})
			s := client.connect(server)
			defer server.held("held")()
			result := make(chan error, 1)
			go func() {
				_, _, err := callWithin(t.Context(), s, 20*time.Minute, "held", "")
				result <- err
			}()
			pass(time.Minute + time.Duration(phase)*client.limits.Silence/10)
			w.lose(from(server.addr))
			start := time.Now()
			e := failure(t, <-result, ReasonLost)
			if took := time.Since(start); took > 2*client.limits.Silence+2*minLook {
				t.Errorf("%q after %v, want twice Limits.Silence at most", e, took)
			}
		})
	}
}

// refusing is a socket whose Knock always reports that nobody listens.
type refusing struct{ net.PacketConn }

func (refusing) Knock(context.Context, netip.AddrPort) bool { return true }

// TestANATSaysNothingOfWhoIsBehindIt has a peer that dialed fall silent, for less than it may be, while the host at its
// address would report that nobody listens at its port. Another host may be a NAT and is not asked; the same host is.
func TestANATSaysNothingOfWhoIsBehindIt(t *testing.T) {
	for _, test := range []struct {
		name   string
		client net.IP
		gone   bool
	}{{"another host", net.IPv4(10, 0, 0, 77).To4(), false}, {"the same host", net.IPv4(10, 0, 0, 1).To4(), true}} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{}, func(c *Config) { c.Conn = refusing{c.Conn} })
				server.handler.onStream("feed", func(s *Stream) { <-s.Canceled().Done() })
				client := w.quiet("web", Limits{}, func(c *Config) {
					// The client gets a socket at the address of the test case instead.
					_ = c.Conn.Close()
					c.Conn = w.socketAt(&net.UDPAddr{IP: test.client, Port: 7444})
				})
				s := client.connect(server)
				st, err := s.Open(t.Context(), &wire.Headers{Route: "feed"})
				if err != nil {
					t.Fatal(err)
				}
				defer st.Cancel(wire.CodeCanceled)
				settle()
				accepted := server.acceptedSessions()[0]
				w.lose(from(client.addr))
				// The server asks after 5/4 of Limits.Silence, and may knock soon after that.
				pass(server.limits.Silence * 13 / 10)
				w.lose(nil)
				settle()
				if accepted.Gone() != test.gone || accepted.ended() != test.gone {
					t.Errorf("the session is gone: %t, and has ended: %t; want both %t", accepted.Gone(), accepted.ended(), test.gone)
				}
			})
		})
	}
}

// TestPing checks that Session.Ping waits for the answer for at most Limits.Silence, and that a session has at
// most one Ping in flight.
func TestPing(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		s := client.connect(server)
		for range 3 {
			if err := s.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.lose(from(server.addr))
		other := make(chan error, 1)
		start := time.Now()
		go func() { other <- s.Ping(t.Context()) }()
		pass(latency)
		if err := s.Ping(t.Context()); err == nil || time.Since(start) != latency {
			t.Errorf("a second ping: %v after %v, want that one is under way", err, time.Since(start)-latency)
		}
		if err := <-other; err == nil {
			t.Error("a peer that is not heard has answered")
		}
		if took := time.Since(start); took != client.limits.Silence {
			t.Errorf("it was waited for %v, want Limits.Silence", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Ping(ctx); err == nil {
			t.Error("a ping that nobody waits for was answered")
		}
		s.close(wire.CodeNone, "test")
		if err := s.Ping(t.Context()); err == nil {
			t.Error("a connection that has ended has answered")
		}
	})
}
