package transport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/internal/wire"
)

// streamID is a handler that answers with the ID of the call's stream.
func streamID(c *Call) { answer(c, fmt.Sprint(c.stream.ID())) }

func mustCall(t *testing.T, s *Session, route string) string {
	t.Helper()
	got, status, err := call(t.Context(), s, route, "")
	if err != nil || status.Code != 0 {
		t.Fatalf("calling %s: %+v, %v", route, status, err)
	}
	return got
}

// pool returns a server and a session to it.
func pool(w *world, server, client Limits) (*node, *Session) {
	n := w.node("orders", server)
	n.handler.onCall("id", streamID)
	n.handler.onCall("last", func(c *Call) { c.Reply = wire.AppendOK(c.Reply, c.StatusFlags()|wire.FlagLast) })
	n.handler.onCall("fail", func(c *Call) { c.Reply = wire.AppendStatus(c.Reply, &wire.Status{Code: 5}, c.StatusFlags()) })
	return n, w.quiet("web", client).connect(n)
}

func TestLeaseIsReusedAfterACleanEndOnly(t *testing.T) {
	for _, test := range []struct {
		name    string
		route   string
		size    int
		timeout time.Duration
		// cancel is when the call is canceled, or 0 for never.
		cancel time.Duration
		same   bool
	}{
		{"reply", "echo", 10, time.Second, 0, true},
		{"error of the handler", "fail", 10, time.Second, 0, true},
		{"unknown route", "nobody", 10, time.Second, 0, true},
		{"last", "last", 10, time.Second, 0, false},
		{"deadline", "hang", 10, 10 * time.Millisecond, 0, false},
		{"cancel", "hang", 10, time.Second, 50 * time.Millisecond, false},
		{"request on a stream of its own", "echo", LeasedMessage + 1, time.Second, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server, s := pool(w, Limits{}, Limits{})
				server.handler.onCall("hang", func(c *Call) { <-c.Canceled().Done() })
				first := mustCall(t, s, "id")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if test.cancel > 0 {
					time.AfterFunc(test.cancel, cancel)
				}
				_, _, err := callWithin(ctx, s, test.timeout, test.route, strings.Repeat("m", test.size))
				if (err != nil) != (test.route == "hang") {
					t.Fatalf("the call before: %v", err)
				}
				settle()
				if second := mustCall(t, s, "id"); (second == first) != test.same {
					t.Errorf("the next call is on stream %s, the one before was on %s; want the same: %t", second, first, test.same)
				}
			})
		})
	}
}

func TestLeasesAreUsedLastInFirstOut(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, s := pool(w, Limits{}, Limits{Streams: StreamLimits{LeaseIdle: time.Minute}})
		open := server.held("held")
		results := holdCalls(t.Context(), s, 5, "held")
		settle()
		open()
		if failed := results(); len(failed) > 0 {
			t.Fatal(failed)
		}
		if n := len(s.leases.idle); n != 5 {
			t.Fatalf("%d idle leases, want 5", n)
		}
		first := mustCall(t, s, "id")
		for range 30 {
			pass(3 * time.Second)
			if again := mustCall(t, s, "id"); again != first {
				t.Fatalf("one call at a time uses streams %s and %s", first, again)
			}
		}
		s.leases.mu.Lock()
		idle, busy := len(s.leases.idle), len(s.leases.busy)
		s.leases.mu.Unlock()
		if idle != 1 || busy != 0 {
			t.Errorf("%d idle leases, and %d with a call, want the last one: the others were idle for long", idle, busy)
		}
	})
}

func TestIdleLeasesAreBounded(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, s := pool(w, Limits{Streams: StreamLimits{PerConnection: 20}}, Limits{Streams: StreamLimits{IdleLeases: 3}})
		// Later rounds need the room of the streams that were retired before.
		for range 3 {
			open := server.held("held")
			results := holdCalls(t.Context(), s, 20, "held")
			settle()
			open()
			if failed := results(); len(failed) > 0 {
				t.Fatal(failed)
			}
			settle()
			if n := len(s.leases.idle); n != 3 {
				t.Errorf("%d idle leases, want Limits.Streams.IdleLeases", n)
			}
		}
	})
}

func TestWaitersAreServedInOrder(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, s := pool(w, Limits{Streams: StreamLimits{PerConnection: 1}}, Limits{})
		var mu sync.Mutex
		var order []string
		release := make(chan struct{})
		server.handler.onCall("step", func(c *Call) {
			<-release
			mu.Lock()
			order = append(order, string(c.Message))
			mu.Unlock()
			answer(c, "")
		})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if _, _, err := call(t.Context(), s, "step", fmt.Sprint(i)); err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			})
			settle()
		}
		close(release)
		wg.Wait()
		if got, want := fmt.Sprint(order), "[0 1 2 3 4 5 6 7 8 9]"; got != want {
			t.Errorf("served in the order %s", got)
		}
	})
}

func TestWaitersAreServedByNewStreams(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, s := pool(w, Limits{Streams: StreamLimits{PerConnection: 1}}, Limits{})
		server.handler.onCall("hang", func(c *Call) { <-c.Canceled().Done() })
		ctx, cancel := context.WithCancel(t.Context())
		results := holdCalls(ctx, s, 1, "hang")
		settle()
		got := make(chan string)
		go func() { got <- mustCall(t, s, "id") }()
		settle()
		// The stream of a canceled call is not reused.
		cancel()
		mustFail(t, results()[0], ReasonCanceled)
		if id := <-got; id == "0" {
			t.Error("the waiter got the stream of a canceled call")
		}
	})
}

func TestWaitersAreBounded(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, s := pool(w, Limits{Streams: StreamLimits{PerConnection: 1}}, Limits{Streams: StreamLimits{Waiters: 2}})
		open := server.held("held")
		results := holdCalls(t.Context(), s, 3, "held")
		settle()
		e := failure(t, callError(t, s), ReasonOverloaded)
		if !e.NotProcessed || !strings.Contains(e.Error(), "Limits.Streams.Waiters") {
			t.Errorf("the error is %q (not processed: %t)", e, e.NotProcessed)
		}
		open()
		if failed := results(); len(failed) > 0 {
			t.Errorf("calls that waited failed: %v", failed)
		}
	})
}

func TestWaiterGivesUp(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, s := pool(w, Limits{Streams: StreamLimits{PerConnection: 1}}, Limits{})
		open := server.held("held")
		results := holdCalls(t.Context(), s, 1, "held")
		settle()
		_, _, err := callWithin(t.Context(), s, time.Second, "id", "")
		if e := failure(t, err, ReasonCanceled); !errors.Is(e, context.DeadlineExceeded) || !e.NotProcessed {
			t.Errorf("at the deadline: %q (not processed: %t)", e, e.NotProcessed)
		}
		why := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { idle(time.Second); cancel(why) }()
		_, _, err = call(ctx, s, "id", "")
		if e := failure(t, err, ReasonCanceled); !errors.Is(e, why) || !e.NotProcessed {
			t.Errorf("when canceled: %q (not processed: %t)", e, e.NotProcessed)
		}
		_, _, err = callWithin(t.Context(), s, time.Second, "echo", strings.Repeat("m", LeasedMessage+1))
		if e := failure(t, err, ReasonCanceled); !errors.Is(e, context.DeadlineExceeded) || !e.NotProcessed {
			t.Errorf("a large call at the deadline: %q (not processed: %t)", e, e.NotProcessed)
		}
		open()
		results()
		// The lease was not lost with the waiters that gave up.
		mustEcho(t, s)
		if n := len(s.leases.waiters); n != 0 {
			t.Errorf("%d waiters are left", n)
		}
	})
}

func TestWaiterEndsWithItsConnection(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, s := pool(w, Limits{Streams: StreamLimits{PerConnection: 1}}, Limits{})
		defer server.held("held")()
		results := holdCalls(t.Context(), s, 2, "held")
		settle()
		s.close(wire.CodeIdle, "test")
		unprocessed := 0
		for _, err := range results() {
			if failure(t, err, ReasonLost).NotProcessed {
				unprocessed++
			}
		}
		if unprocessed != 1 {
			t.Errorf("%d of 2 calls are unprocessed, want the one that waited", unprocessed)
		}
	})
}

// TestLeaseThatCameBackMeanwhileIsFound checks that wait finds a lease that another call has put back since
// get found no idle one.
func TestLeaseThatCameBackMeanwhileIsFound(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		_, s := pool(w, Limits{Streams: StreamLimits{PerConnection: 1}}, Limits{})
		mustEcho(t, s)
		start := time.Now()
		l, err := s.leases.wait(t.Context(), start.Add(10*time.Second))
		if err != nil || time.Since(start) != 0 {
			t.Fatalf("waited for %v: %v", time.Since(start), err)
		}
		s.leases.put(l)
		mustEcho(t, s)
	})
}

// TestCancelNeverHarmsAnotherCall is a randomized test: callers cancel at random moments, including about
// when a call ends. Each reply must match its request, and only calls that were canceled or ran out of
// time may fail.
func TestCancelNeverHarmsAnotherCall(t *testing.T) {
	for seed := range race.Fewer[uint64](4, 2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server, s := pool(w, Limits{Streams: StreamLimits{PerConnection: 16}}, Limits{})
				server.handler.onCall("delay", func(c *Call) {
					if n := len(c.Message) % 8; n > 0 {
						idle(time.Duration(n) * time.Millisecond)
					}
					answer(c, string(c.Message))
				})
				var wg sync.WaitGroup
				for worker := range 24 {
					dice := rand.New(rand.NewPCG(seed, uint64(worker)))
					wg.Go(func() {
						for i := range 60 {
							message := fmt.Sprintf("worker %d call %d %s", worker, i, strings.Repeat("x", dice.IntN(8)))
							if dice.IntN(8) == 0 {
								message += strings.Repeat("y", dice.IntN(20<<10))
							}
							ctx, cancel := context.WithCancel(t.Context())
							switch dice.IntN(4) {
							case 0:
								// The call is canceled at about the time when its reply arrives.
								stop := context.AfterFunc(ctx, func() {})
								time.AfterFunc(time.Duration(dice.IntN(14000))*time.Microsecond, cancel)
								defer stop()
							case 1:
								ctx, cancel = context.WithTimeout(ctx, time.Duration(dice.IntN(30000))*time.Microsecond)
							}
							timeout := 10 * time.Second
							if dice.IntN(4) == 0 {
								timeout = time.Duration(dice.IntN(15000)) * time.Microsecond
							}
							got, status, err := callWithin(ctx, s, timeout, "delay", message)
							switch {
							case err == nil && (got != message || status.Code != 0):
								t.Errorf("%.30q was answered with %.30q, %+v", message, got, status)
							case err != nil:
								e, _ := errors.AsType[*Error](err)
								if e == nil || e.Reason != ReasonCanceled || ctx.Err() == nil && timeout == 10*time.Second {
									t.Errorf("%.30q: %v (its context: %v)", message, err, ctx.Err())
								}
							}
							cancel()
						}
					})
				}
				wg.Wait()
				settle()
				mustEcho(t, s)
				s.leases.mu.Lock()
				defer s.leases.mu.Unlock()
				if busy := len(s.leases.busy); busy != 0 || len(s.leases.waiters) != 0 {
					t.Errorf("%d leases are in use, %d calls wait, when nothing is under way", busy, len(s.leases.waiters))
				}
			})
		})
	}
}

// TestALeaseThatArrivesAsItsWaiterLeavesIsKept checks that a lease is not lost if it is handed to a waiter
// at the moment when the waiter is canceled, whichever of the two the waiter sees first.
func TestALeaseThatArrivesAsItsWaiterLeavesIsKept(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		_, s := pool(w, Limits{Streams: StreamLimits{PerConnection: 1}}, Limits{})
		mustEcho(t, s)
		p := &s.leases
		left := 0
		for round := 0; round < 1000 && left < 10; round++ {
			l, err := p.get(t.Context(), time.Now().Add(time.Minute))
			if err != nil {
				t.Fatalf("round %d: the lease was lost: %v", round, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				got, err := p.get(ctx, time.Now().Add(time.Minute))
				if err == nil {
					p.put(got)
				}
				ended <- err
			}()
			settle()
			cancel()
			p.put(l)
			if <-ended != nil {
				left++
			}
			synctest.Wait()
		}
		if left == 0 {
			t.Error("no waiter left")
		}
		mustEcho(t, s)
	})
}

// TestAStreamThatThePeerDoesNotKnowIsGivenBack checks that a lease that no call has used, and that is beyond
// Limits.Streams.IdleLeases, gives back its stream, so that another can be opened.
func TestAStreamThatThePeerDoesNotKnowIsGivenBack(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		_, s := pool(w, Limits{Streams: StreamLimits{PerConnection: 2}}, Limits{Streams: StreamLimits{IdleLeases: 1}})
		mustEcho(t, s)
		for range 5 {
			stream, err := s.conn.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.leases.put(s.newLease(stream))
			settle()
		}
		mustEcho(t, s)
	})
}
