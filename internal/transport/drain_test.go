package transport

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/wire"
)

// drain begins to drain the node in the background, for at most d. result receives the error of Drain.
func (n *node) drain(d time.Duration) (result chan error) {
	result = make(chan error, 1)
	n.w.scripts.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		result <- n.Drain(ctx, nil)
	})
	return result
}

func (r *raw) goAway() wire.GoAway {
	r.t.Helper()
	g, err := wire.ParseGoAway(r.await(wire.KindGoAway))
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

func TestDrainSaysGoodbyeTwice(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("web", server)
		// The calls use streams 0, 4 and 8, and leased is stream 12.
		for range 3 {
			r.mustEcho()
		}
		leased := r.stream(append(calls(), callFrames("echo", time.Second, "a")...))
		if got := leased.reply(); got.err != nil {
			t.Fatal(got.err)
		}
		over := server.drain(10 * time.Second)
		h, err := wire.ParseHealth(r.await(wire.KindHealth))
		if err != nil || h.State != wire.StateDraining {
			t.Errorf("HEALTH: %+v, %v", h, err)
		}
		if g := r.goAway(); g.LastStream != wire.MaxVarint || g.Reason == "" {
			t.Errorf("the first GOAWAY: %+v", g)
		}
		select {
		case <-server.Draining():
		default:
			t.Error("Draining is not closed")
		}
		// Stream 16 is still served, because it may have been in flight when the first GOAWAY was sent.
		r.mustEcho()
		if g := r.goAway(); g.LastStream != 16 {
			t.Errorf("the second GOAWAY: %+v, want the last stream to be 16", g)
		}
		// After the second GOAWAY calls are refused, on old streams too, and no handler sees them.
		before := server.handler.count("echo")
		leased.write(callFrames("echo", time.Second, "b"))
		fresh := r.stream(callStream(wire.StreamCall, "echo", time.Second, "c"))
		for _, st := range []*rawStream{leased, fresh} {
			got := st.reply()
			if got.err != nil || got.status.Code != 14 || !got.status.Refused || !strings.Contains(got.status.Message, "drain") {
				t.Errorf("a call while the node drains: %+v", got)
			}
		}
		if n := server.handler.count("echo") - before; n != 0 {
			t.Errorf("%d handlers ran", n)
		}
		// The drain lingers for lingerTime, because this peer does not close its connection.
		if err := <-over; err != nil {
			t.Errorf("drain: %v", err)
		}
		if r.conn.Context().Err() != nil {
			t.Error("the drain closed a connection")
		}
		if late := w.client("web", server); late.setup.State != wire.StateDraining {
			t.Errorf("a new connection is told state %d in SETUP", late.setup.State)
		}
	})
}

func TestDrainLosesNoCall(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		big := strings.Repeat("b", 3<<20)
		server.handler.onCall("work", func(c *Call) { idle(time.Second); answer(c, big) })
		s := client.connect(server)
		mustEcho(t, s)
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if got, status, err := call(t.Context(), s, "work", ""); err != nil || got != big {
					t.Errorf("a call under way: %d bytes, %+v, %v", len(got), status, err)
				}
			})
		}
		settle()
		start := time.Now()
		over := server.drain(10 * time.Second)
		settle()
		if s.usable() {
			t.Error("the client still sends new calls to a node that drains")
		}
		select {
		case <-s.Draining():
		default:
			t.Error("Draining of the session is not closed")
		}
		if e := failure(t, callError(t, s), ReasonDraining); !e.NotProcessed {
			t.Errorf("%q does not say that nothing was processed", e)
		}
		if err := <-over; err != nil {
			t.Errorf("drain: %v", err)
		}
		wg.Wait()
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("the drain took %v, the calls only 1 s", took)
		}
		// The client closes the connection, because it no longer needs it.
		<-s.Done()
		if code := closeCode(s); code != wire.CodeNone {
			t.Errorf("closed with %v, want NO_ERROR", code)
		}
	})
}

func TestClientLeavesAnIdleNodeThatDrains(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		s := client.connect(server)
		mustEcho(t, s)
		start := time.Now()
		if err := server.Drain(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > goAwayDelay+20*latency {
			t.Errorf("the drain of an idle node took %v", took)
		}
		settle()
		if !s.ended() {
			t.Error("the client holds on to a node that drains")
		}
	})
}

func TestDrainCancelsWhatOutlastsItsGrace(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		s := client.connect(server)
		var status wire.Status
		done := make(chan error)
		go func() {
			var err error
			_, status, err = callWithin(t.Context(), s, time.Minute, "wait", "")
			done <- err
		}()
		settle()
		start := time.Now()
		ctx, cancel := withTimeout(t, 2*time.Second)
		defer cancel()
		if err := server.Drain(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain: %v, want that its time was over", err)
		}
		if took := time.Since(start); took > 2*time.Second+cancelDelay+10*latency {
			t.Errorf("the drain took %v", took)
		}
		if err := <-done; err != nil || status.Message != ErrDraining.Error() {
			t.Errorf("the canceled handler answered %+v, %v; want the cause", status, err)
		}
		if cause := context.Cause(s.Handlers()); cause != nil {
			t.Errorf("the context of the client's handlers ended with %v", cause)
		}
	})
}

func TestDrainOfANodeWithoutConnectionsIsImmediate(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		start := time.Now()
		if err := w.node("orders", Limits{}).Drain(t.Context(), nil); err != nil || time.Since(start) != 0 {
			t.Errorf("took %v: %v", time.Since(start), err)
		}
	})
}

func TestSecondDrainWaitsForTheFirst(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		r := w.client("web", server)
		// A connection that is new to a server that drains hears the first GOAWAY by itself.
		settle()
		first := server.drain(10 * time.Second)
		r.goAway()
		if g := r.goAway(); g.LastStream != 0 {
			t.Errorf("the second GOAWAY: %+v", g)
		}
		ctx, cancel := withTimeout(t, 10*time.Millisecond)
		defer cancel()
		if err := server.Drain(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second drain with little time: %v", err)
		}
		if err := server.Drain(t.Context(), nil); err != nil {
			t.Errorf("a third drain: %v", err)
		}
		select {
		case err := <-first:
			if err != nil {
				t.Errorf("the first drain: %v", err)
			}
		default:
			synctest.Wait()
			if len(first) == 0 {
				t.Error("the third drain returned before the first")
			}
		}
		r.send(wire.AppendPing(nil, wire.KindPing, 9))
		if h, _, err := r.frames.next(); err != nil || h.Kind != wire.KindPong {
			t.Errorf("after the second GOAWAY came a frame of kind %#x, %v; want none but the PONG", h.Kind, err)
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	for _, test := range []struct {
		name  string
		close func(server, client *node) *node
		want  Reason
	}{
		{"server", func(server, _ *node) *node { return server }, ReasonLost},
		{"client", func(_, client *node) *node { return client }, ReasonClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server, client := w.node("orders", Limits{Streams: StreamLimits{PerConnection: 5}}), w.quiet("web", Limits{})
				server.handler.onStream("stream", func(s *Stream) {
					for {
						if _, err := s.Recv(s.Canceled()); err != nil {
							return
						}
					}
				})
				s := client.connect(server)
				// Half of the calls wait for a stream.
				results := holdCalls(t.Context(), s, 10, "wait")
				settle()
				dialing := make(chan error, 1)
				go func() {
					_, err := client.peerAt(w.ca.ID("nobody"), "10.9.9.9:7443").Session(context.Background(), ClassCalls)
					dialing <- err
				}()
				drained := server.drain(time.Minute)
				synctest.Wait()
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						if err := test.close(server, client).Close(); err != nil {
							t.Errorf("closing: %v", err)
						}
					})
				}
				wg.Wait()
				for _, err := range results() {
					if err != nil && strings.Contains(err.Error(), ErrClosed.Error()) {
						// The canceled handler answered in time.
						continue
					}
					e, _ := errors.AsType[*Error](err)
					if e == nil || e.Reason != test.want && e.Reason != ReasonLost {
						t.Errorf("a call under way ended with %v, want %v", err, test.want)
					}
				}
				if e, _ := errors.AsType[*Error](callError(t, s)); e == nil || !e.NotProcessed {
					t.Errorf("a call afterwards: %v, want one that was not processed", e)
				}
				// One of the two nodes is not closed yet. Close ends the dial and the drain.
				_ = client.Close()
				mustFail(t, <-dialing, ReasonClosed)
				_ = server.Close()
				if err := <-drained; err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the drain that Close overtook: %v", err)
				}
				if err := test.close(server, client).Close(); err != nil {
					t.Errorf("closing again: %v", err)
				}
				if server.Active() != 0 || sessions(server.Endpoint)+sessions(client.Endpoint) != 0 {
					t.Errorf("%d active handlers, sessions remain", server.Active())
				}
				if _, err := client.peer(server).Session(t.Context(), ClassCalls); err == nil {
					t.Error("a closed endpoint dials, or is dialed")
				}
			})
		})
	}
}

func TestListenOnAClosedEndpoint(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		n := w.quiet("orders", Limits{})
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		if err := n.Listen(); err == nil {
			t.Error("a closed endpoint listens")
		}
	})
}

// TestADrainSettlesBeforeItIsOver checks that Drain calls settle before lasting streams are told to end,
// and waits for it even if its own time is over.
func TestADrainSettlesBeforeItIsOver(t *testing.T) {
	for name, given := range map[string]time.Duration{"in time": time.Minute, "too late": time.Second} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server := w.node("orders", Limits{})
				ctx, cancel := withTimeout(t, given)
				defer cancel()
				began, settled := time.Now(), false
				err := server.Drain(ctx, func() {
					<-time.After(2 * time.Second)
					select {
					case <-server.Endpoint.drain.quiet:
						t.Error("lasting streams were told to end before")
					default:
					}
					settled = true
				})
				if took := time.Since(began); err != nil || !settled || took != 2*time.Second {
					t.Errorf("after %v: %v; settled: %v", took, err, settled)
				}
				select {
				case <-server.Endpoint.drain.quiet:
				default:
					t.Error("lasting streams were not told to end")
				}
			})
		})
	}
}
