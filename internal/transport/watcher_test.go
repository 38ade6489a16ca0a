package transport

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestCallEndsWithItsContext checks that a call ends at most two ticks of the watcher late.
func TestCallEndsWithItsContext(t *testing.T) {
	const late = 2*watchTick + time.Millisecond
	for _, test := range []struct {
		name     string
		deadline time.Duration
		// cancel and ctxDeadline are 0 if the context is not canceled or has no deadline.
		cancel            time.Duration
		ctxDeadline       time.Duration
		want              error
		after, atMostLate time.Duration
	}{
		{"canceled at once", time.Minute, time.Microsecond, 0, context.Canceled, time.Microsecond, late},
		{"canceled in the first tick", time.Minute, 3 * time.Millisecond, 0, context.Canceled, 3 * time.Millisecond, late},
		{"canceled soon", time.Minute, 12 * time.Millisecond, 0, context.Canceled, 12 * time.Millisecond, late},
		{"canceled late", time.Minute, 20 * time.Second, 0, context.Canceled, 20 * time.Second, 0},
		{"near deadline", time.Millisecond, 0, 0, context.DeadlineExceeded, time.Millisecond, 0},
		{"deadline that is watched at once", watchNow - 1, 0, 0, context.DeadlineExceeded, watchNow - 1, 0},
		{"deadline that is watched later", watchNow, 0, 0, context.DeadlineExceeded, watchNow, 0},
		{"far deadline", 50 * time.Second, 0, 0, context.DeadlineExceeded, 50 * time.Second, 0},
		{"deadline of the context", 50 * time.Second, 0, 7 * time.Second, context.DeadlineExceeded, 7 * time.Second, 0},
		{"near deadline of the context", 50 * time.Second, 0, 2 * time.Millisecond, context.DeadlineExceeded, 2 * time.Millisecond, late},
		{"deadline before that of the context", 7 * time.Second, 0, 50 * time.Second, context.DeadlineExceeded, 7 * time.Second, 0},
		{"deadline that is over", -time.Second, 0, 0, context.DeadlineExceeded, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inEach(t, func(w *world) {
				t := w.t
				server, s := pool(w, Limits{}, Limits{})
				canceled := make(chan struct{}, 1)
				server.handler.onCall("hang", func(c *Call) { <-c.Canceled().Done(); canceled <- struct{}{} })
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				if test.cancel > 0 {
					time.AfterFunc(test.cancel, stop)
				}
				if test.ctxDeadline > 0 {
					ctx, stop = context.WithTimeout(ctx, test.ctxDeadline)
					defer stop()
				}
				start := time.Now()
				_, _, err := callWithin(ctx, s, test.deadline, "hang", "")
				took := time.Since(start)
				if e := failure(t, err, ReasonCanceled); !errors.Is(e, test.want) {
					t.Errorf("the error is %v, want %v", e, test.want)
				}
				if took < test.after || took > test.after+test.atMostLate {
					t.Errorf("ended after %v, want %v, at most %v late", took, test.after, test.atMostLate)
				}
				// A request that has left reaches a handler, which must be canceled, too.
				if test.deadline > 10*time.Millisecond && took > 5*time.Millisecond {
					<-canceled
				}
				mustEcho(t, s)
			})
		})
	}
}

func TestWatcherSleepsWhenNothingIsYoung(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{SessionIdle: 3 * time.Hour})
		s := client.connect(server)
		ticks := func() uint64 { return client.watcher.now.Load() }
		synctest.Wait()
		if !client.watcher.parked.Load() {
			t.Error("the watcher does not begin asleep")
		}
		for round := range 3 {
			mustEcho(t, s)
			if client.watcher.parked.Load() {
				t.Errorf("round %d: the watcher sleeps beside a young call", round)
			}
			pass((parkAfter + 3) * watchTick)
			if !client.watcher.parked.Load() {
				t.Errorf("round %d: the watcher is awake with nothing to watch", round)
			}
			before := ticks()
			pass(time.Hour)
			if n := ticks() - before; n != 0 {
				t.Errorf("round %d: %d ticks in an hour without calls", round, n)
			}
		}
		// A long call needs no ticks once it is watched.
		ctx, cancel := context.WithCancel(t.Context())
		results := holdCalls(ctx, s, 1, "wait")
		pass(time.Second)
		before := ticks()
		pass(20 * time.Second)
		if n := ticks() - before; n != 0 || !client.watcher.parked.Load() {
			t.Errorf("%d ticks while a call lasts", n)
		}
		cancel()
		mustFail(t, results()[0], ReasonCanceled)
	})
}

func TestManyDeadlinesAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		_, s := pool(w, Limits{}, Limits{})
		start := time.Now()
		done := make(chan string)
		for i := range 200 {
			d := time.Duration(i+1) * 3 * time.Millisecond
			go func() {
				_, _, err := callWithin(t.Context(), s, d, "wait", "")
				problem := ""
				if took := time.Since(start); took > d+time.Millisecond || took < d-3*latency {
					problem = fmt.Sprintf("deadline %v: ended after %v with %v", d, took, err)
				}
				done <- problem
			}()
		}
		for range 200 {
			if problem := <-done; problem != "" {
				t.Error(problem)
			}
		}
	})
}

// TestTheWatcherLooksAtCallsUnderWay checks that the watcher looks at nothing else, however many
// leases and sessions there are.
func TestTheWatcherLooksAtCallsUnderWay(t *testing.T) {
	inEach(t, func(w *world) {
		t := w.t
		const sessions, leases = 8, 100
		client := w.quiet("web", Limits{SessionIdle: time.Hour, Streams: StreamLimits{LeaseIdle: time.Hour}})
		var last *Session
		for i := range sessions {
			server := w.node(fmt.Sprintf("orders%d", i), Limits{Streams: StreamLimits{Idle: time.Hour}})
			open := server.held("held")
			last = client.connect(server)
			results := holdCalls(t.Context(), last, leases, "held")
			settle()
			open()
			if failed := results(); len(failed) > 0 {
				t.Fatal(failed)
			}
			if n := len(last.leases.idle); n != leases {
				t.Fatalf("%d idle leases, want %d", n, leases)
			}
			ctx, cancel := context.WithCancel(t.Context())
			// This call lasts as long as the test.
			lasts := holdCalls(ctx, last, 1, "wait")
			defer lasts()
			defer cancel()
		}
		pass(time.Second)
		ticks, looked := client.watcher.now.Load(), client.watcher.looked.Load()
		// One call after the other keeps the watcher awake.
		for range 50 {
			mustEcho(t, last)
			pass(2 * watchTick)
		}
		ticks, looked = client.watcher.now.Load()-ticks, client.watcher.looked.Load()-looked
		if ticks < 50 || looked > 3*ticks {
			t.Errorf("the watcher looked at %d leases in %d ticks, with one new call at a time", looked, ticks)
		}
	})
}
