package transport

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// held adds a route whose handlers run until open is called.
func (n *node) held(route string) (open func()) {
	release := make(chan struct{})
	n.handler.onCall(route, func(c *Call) {
		<-release
		answer(c, "released")
	})
	return sync.OnceFunc(func() { close(release) })
}

// holdCalls starts n calls of a held route, with a timeout of 30 s. results waits for their ends and returns
// the errors of those that failed, in any order.
func holdCalls(ctx context.Context, s *Session, n int, route string) (results func() []error) {
	out := make(chan error, n)
	for range n {
		go func() {
			_, status, err := callWithin(ctx, s, 30*time.Second, route, "")
			if err == nil && status.Code != 0 {
				err = fmt.Errorf("status %d (refused: %t): %s", status.Code, status.Refused, status.Message)
			}
			out <- err
		}()
	}
	return func() []error {
		var failed []error
		for range n {
			if err := <-out; err != nil {
				failed = append(failed, err)
			}
		}
		return failed
	}
}

func TestConcurrencyLimitsRefuseByName(t *testing.T) {
	for _, test := range []struct {
		name   string
		limits Limits
		// identity uses up the limit over this many sessions.
		identity string
		sessions int
	}{
		{"CallsPerIdentity", Limits{CallsPerIdentity: 4}, "web", 1},
		{"CallsPerIdentity", Limits{CallsPerIdentity: 4}, "web", 2},
		{"CallsPerProcess", Limits{CallsPerProcess: 4}, "mailer", 1},
		{"CallsPerProcess", Limits{CallsPerProcess: 4}, "mailer", 4},
	} {
		t.Run(fmt.Sprintf("%s over %d sessions", test.name, test.sessions), func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server := w.node("orders", test.limits)
				open := server.held("held")
				defer open()
				var results []func() []error
				for range test.sessions {
					s := w.quiet(test.identity, Limits{}).connect(server)
					results = append(results, holdCalls(t.Context(), s, 4/test.sessions, "held"))
				}
				settle()
				if n := server.Active(); n != 4 {
					t.Fatalf("%d calls are held, want 4", n)
				}
				s := w.quiet("web", Limits{}).connect(server)
				for range 3 {
					_, status, err := call(t.Context(), s, "held", "")
					if err != nil || status.Code != 8 || !status.Refused || !containsAll(status.Message, "Limits."+test.name, "4") {
						t.Fatalf("the call above the limit: %+v, %v", status, err)
					}
				}
				if test.name == "CallsPerIdentity" {
					// Other identities are not affected.
					mustEcho(t, w.quiet("billing", Limits{}).connect(server))
				}
				open()
				for _, r := range results {
					if failed := r(); len(failed) > 0 {
						t.Errorf("calls below the limit failed: %v", failed)
					}
				}
				mustEcho(t, s)
				// The call of the other identity counts beside the 4.
				if peak := server.handler.peak.Load(); peak > 4+1 {
					t.Errorf("%d handlers ran at once", peak)
				}
			})
		})
	}
}

func TestStreamsOfAConnectionAreBounded(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{Streams: StreamLimits{PerConnection: 4}})
		open := server.held("held")
		defer open()
		s := w.quiet("web", Limits{}).connect(server)
		results := holdCalls(t.Context(), s, 10, "held")
		pass(time.Second)
		if n := server.handler.running.Load(); n != 4 {
			t.Errorf("%d handlers run, want 4; the others wait on their side", n)
		}
		mustEcho(t, w.quiet("billing", Limits{}).connect(server))
		open()
		if failed := results(); len(failed) > 0 {
			t.Errorf("calls that waited failed: %v", failed)
		}
	})
}

func TestConnectionLimits(t *testing.T) {
	for _, test := range []struct {
		name   string
		limits Limits
		// other is the identity of the connections that use up the limit.
		other string
	}{
		{"ConnsPerIdentity", Limits{ConnsPerIdentity: 3}, "web"},
		{"ConnsPerProcess", Limits{ConnsPerProcess: 3}, "mailer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server := w.node("orders", test.limits)
				var held []*Session
				for range 3 {
					s := w.quiet(test.other, Limits{}).connect(server)
					mustEcho(t, s)
					held = append(held, s)
					pass(time.Second)
				}
				// held[0] is used again, so held[1] is now the connection that has been idle for longest.
				mustEcho(t, held[0])
				mustEcho(t, w.quiet("web", Limits{}).connect(server))
				settle()
				if held[0].ended() || !held[1].ended() || held[2].ended() {
					t.Errorf("ended: %t, %t, %t; want the one that was unused for longest", held[0].ended(), held[1].ended(), held[2].ended())
				}
				if code := closeCode(held[1]); code != wire.CodeOverloaded {
					t.Errorf("it was closed with %v, want OVERLOADED", code)
				}
				// If all connections are busy, none makes way.
				for _, s := range server.acceptedSessions() {
					s.usage.active.Add(1)
					defer s.usage.active.Add(-1)
				}
				_, err := w.quiet("web", Limits{DialTimeout: time.Second}).peer(server).Session(t.Context(), ClassCalls)
				if e := failure(t, err, ReasonOverloaded); !strings.Contains(e.Error(), "Limits."+test.name[:5]) {
					t.Errorf("the error is %q", e)
				}
			})
		})
	}
}

// TestTheLastWordOfABusyPeerIsTheError checks that a dial that runs out of time during a retry fails with the
// last answer of the busy peer.
func TestTheLastWordOfABusyPeerIsTheError(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{ConnsPerIdentity: 1})
		mustEcho(t, w.quiet("web", Limits{}).connect(server))
		busy := server.taken(t)
		busy.usage.active.Add(1)
		defer busy.usage.active.Add(-1)
		start := time.Now()
		w.lose(func(packet) bool { return time.Since(start) > 3*time.Second/2 })
		_, err := w.quiet("web", Limits{DialTimeout: time.Second}).peer(server).Session(t.Context(), ClassCalls)
		mustFail(t, err, ReasonOverloaded)
		w.lose(func(packet) bool { return false })
	})
}

// TestManyConnectionsAtOnceStayBelowTheLimit checks that connections that arrive at the same moment, and so
// find the same idle connection to evict, do not exceed the limit.
func TestManyConnectionsAtOnceStayBelowTheLimit(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{ConnsPerIdentity: 3, Handshakes: HandshakeLimits{Pending: 1000}})
		var conns []*raw
		for range 40 {
			conns = append(conns, w.rawClient("mallory", server))
			server.known.mu.Lock()
			n := server.known.accepted
			server.known.mu.Unlock()
			// One more connection may be about to end.
			if n > 3+1 {
				t.Fatalf("%d connections of one identity", n)
			}
		}
		settle()
		alive := 0
		for _, r := range conns {
			if r.conn.Context().Err() == nil {
				alive++
			}
		}
		if alive != 3 {
			t.Errorf("%d connections of one identity live, want 3", alive)
		}
		mustEcho(t, w.quiet("web", Limits{}).connect(server))
	})
}

func TestVictimIsChosenOnce(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{ConnsPerIdentity: 1})
		first := w.quiet("web", Limits{}).connect(server)
		mustEcho(t, first)
		idle := server.acceptedSessions()[0]
		// newcomer makes a session as serve does, before the victim is gone.
		newcomer := func() *Session {
			s := server.newSession(idle.conn, Identity{Key: w.ca.Source("web").ID().String()}, nil)
			s.usage.active.Add(1)
			return s
		}
		a, b := newcomer(), newcomer()
		if !server.admitSession(a) {
			t.Fatal("the idle connection did not make way")
		}
		if server.admitSession(b) {
			t.Error("the same connection made way twice")
		}
		// a and b have no connection of their own, so nothing else removes them.
		server.known.mu.Lock()
		delete(server.known.sessions, a)
		delete(server.known.sessions, b)
		server.known.accepted = 1
		server.known.mu.Unlock()
		a.shares.conns.Give(1)
		for _, s := range []*Session{a, b} {
			s.group.Stop(ErrClosed)
			s.disown()
		}
	})
}

func TestInFlightBytes(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{InFlightBytes: 1 << 20})
		honest := w.quiet("web", Limits{}).connect(server)
		hoard := func(i int) *rawStream {
			r := w.client(fmt.Sprintf("mallory%d", i), server)
			st := r.stream(calls())
			st.say(headers("echo", time.Second), data(strings.Repeat("m", 600<<10))[:500<<10])
			return st
		}
		first := hoard(1)
		settle()
		if used := server.pools.bytes.Used(); used != 600<<10 {
			t.Fatalf("%d bytes in flight, want those of the message that has begun", used)
		}
		hoard(2).mustReset(wire.CodeOverloaded)
		_, _, err := call(t.Context(), honest, "echo", strings.Repeat("m", 600<<10))
		if e := failure(t, err, ReasonOverloaded); !e.NotProcessed {
			t.Errorf("%q does not say that nothing was processed", e)
		}
		// Small messages do not count toward the limit.
		mustEcho(t, honest)
		if got, _, err := call(t.Context(), honest, "echo", strings.Repeat("m", 300<<10)); err != nil || len(got) != 300<<10 {
			t.Errorf("a message that fits: %d bytes, %v", len(got), err)
		}
		first.CancelWrite(0)
		first.CancelRead(0)
		settle()
		if used := server.pools.bytes.Used(); used != 0 {
			t.Errorf("%d bytes in flight when nothing is", used)
		}
	})
}

// TestLengthCostsNothing checks that room for a message is made as it arrives: its length alone takes at
// most firstChunk bytes.
func TestLengthCostsNothing(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("mallory", server)
		// With 4 MiB each, the messages would take most of Limits.InFlightBytes.
		for range 60 {
			r.stream(join(calls(), headers("echo", time.Second), wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindData, Length: 4 << 20})))
		}
		settle()
		if used := server.pools.bytes.Used(); used > 60*firstChunk {
			t.Errorf("%d bytes are held for 60 lengths", used)
		}
		mustEcho(t, w.quiet("web", Limits{}).connect(server))
	})
}

func TestRefusedStreamsGiveTheirBytesBack(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{CallsPerIdentity: 1})
		server.handler.onStream("stream", func(s *Stream) { _, _ = s.Recv(t.Context()) })
		r := w.client("web", server)
		busy := r.stream(append(wire.AppendVarint(nil, uint64(wire.StreamCall)), headers("stream", time.Second)...))
		settle()
		for range 5 {
			st := r.stream(append(wire.AppendVarint(nil, uint64(wire.StreamCall)), withMetadata("stream", 5<<10)...))
			if got := st.reply(); got.err != nil || got.status.Code != 8 || !got.status.Refused {
				t.Fatalf("got %+v, want a refusal", got)
			}
		}
		busy.Finish()
		settle()
		if used := server.pools.bytes.Used(); used != 0 {
			t.Errorf("%d bytes in flight when nothing is", used)
		}
	})
}
