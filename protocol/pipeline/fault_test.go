package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

func TestAKilledWorkerLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var done tally
		serve := func(ctx context.Context, o order) error {
			select {
			case <-time.After(20 * time.Millisecond):
				done.add(o.ID)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		victim := worker(t, mesh, serve, pipeline.Concurrency(4))
		worker(t, mesh, serve, pipeline.Concurrency(4))
		p := producer(t, mesh.Node(link.Config{}))
		all := enqueue(t, p, 200)
		sleep(200 * time.Millisecond)
		mesh.Kill(victim)
		wait(t, all)
		again := 0
		for _, f := range all {
			o := f.Outcome()
			if o.Attempts > 2 {
				t.Errorf("outcome %+v", o)
			}
			if o.Attempts == 2 {
				again++
			}
		}
		if again == 0 || again > 4 {
			t.Errorf("%d tasks lost an attempt with the worker, want those that it ran: 1 to 4", again)
		}
	})
}

// hasty returns limits with which a silent connection is closed soon.
func hasty() link.Limits {
	return link.Limits{Silence: 300 * time.Millisecond}
}

func TestLeasesSurviveABlip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var runs atomic.Int64
		serve := func(_ context.Context, _ order) error {
			runs.Add(1)
			sleep(12 * time.Second)
			return nil
		}
		w := mesh.Node(link.Config{Service: "mailer", Limits: hasty()})
		pipeline.Pull(w, receipts, pipeline.NoResult(serve), pipeline.Concurrency(4))
		mesh.Start(w)
		client := mesh.Node(link.Config{Limits: hasty()})
		p := producer(t, client)
		all := enqueue(t, p, 4)
		sleep(time.Second)
		mesh.Partition(client, w)
		for p.Stats().Workers[0].Connected {
			sleep(10 * time.Millisecond)
		}
		// The queue waits for the worker for 5 s after its last frame.
		sleep(500 * time.Millisecond)
		mesh.Heal(client, w)
		wait(t, all)
		if runs.Load() != 4 || all[0].Outcome().Attempts != 1 {
			t.Errorf("%d runs, outcome %+v", runs.Load(), all[0].Outcome())
		}
	})
}

func TestAPartitionedWorkerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		fences := make(chan uint64, 10)
		canceled := make(chan error, 10)
		serve := func(ctx context.Context, _ order) error {
			fences <- pipeline.TaskOf(ctx).Fence
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
				canceled <- context.Cause(ctx)
			}
			return nil
		}
		client := mesh.Node(link.Config{})
		p := producer(t, client)
		w := worker(t, mesh, serve)
		f := enqueue(t, p, 1)[0]
		first := <-fences
		mesh.Partition(client, w)
		worker(t, mesh, serve)
		began := time.Now()
		second := <-fences
		if second <= first {
			t.Errorf("fence %d after %d", second, first)
		}
		if d := time.Since(began); d < 5*time.Second || d > 40*time.Second {
			t.Errorf("the task went to the other worker after %v", d)
		}
		if _, err := f.Wait(t.Context()); err != nil || f.Outcome().Attempts != 2 {
			t.Errorf("%v, %+v", err, f.Outcome())
		}
		select {
		case err := <-canceled:
			if err == nil {
				t.Error("the handler was canceled without a cause")
			}
		default:
			t.Error("the handler of the worker that was given up was not canceled")
		}
	})
}

func TestHandlersThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var attempts atomic.Int64
		release := make(chan struct{})
		defer close(release)
		serve := func(ctx context.Context, o order) error {
			switch o.ID {
			case "deaf": // ignores its context
				if attempts.Add(1) == 1 {
					<-release
				}
			case "extends":
				for range 3 {
					sleep(45 * time.Second)
					pipeline.Extend(ctx, time.Minute)
				}
				return ctx.Err()
			case "long":
				sleep(50 * time.Second) // longer than a lease
			}
			return nil
		}
		worker(t, mesh, serve, pipeline.MaxRun(time.Minute), pipeline.Concurrency(3))
		p := producer(t, mesh.Node(link.Config{}))
		var all []*pipeline.Future[pipeline.None]
		for _, id := range []string{"deaf", "extends", "long"} {
			f, err := p.Enqueue(t.Context(), order{ID: id})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
		wait(t, all)
		for i, want := range []int{2, 1, 1} {
			if o := all[i].Outcome(); o.Attempts != want {
				t.Errorf("task %d: %+v", i, o)
			}
		}
		if h := all[0].Outcome().History; len(h) != 1 || h[0].Cause != "the handler ran longer than it may" || h[0].Ended.Sub(h[0].Began) < time.Minute {
			t.Errorf("history %+v", h)
		}
	})
}

func TestSlowWorkersTasksAreRecalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(20*time.Millisecond))
		var slow atomic.Bool
		takes := time.Millisecond
		a := worker(t, mesh, func(context.Context, order) error {
			if slow.Load() {
				sleep(2 * time.Second)
			} else {
				sleep(takes)
			}
			return nil
		}, pipeline.Concurrency(1))
		p := producer(t, mesh.Node(link.Config{}))
		// The worker is fast at first, so it gets a large window.
		wait(t, enqueue(t, p, 100))
		if p.Stats().Workers[0].Window < 10 {
			t.Fatalf("stats %+v: nothing is prefetched", p.Stats())
		}
		slow.Store(true)
		all := enqueue(t, p, 10)
		sleep(100 * time.Millisecond)
		worker(t, mesh, func(context.Context, order) error { sleep(takes); return nil }, pipeline.Concurrency(1))
		began := time.Now()
		wait(t, all[3:])
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("the tasks behind a slow one took %v", d)
		}
		wait(t, all)
		s := p.Stats()
		if s.Recalls == 0 || s.Failures > 0 {
			t.Errorf("stats %+v", s)
		}
		for _, f := range all {
			if o := f.Outcome(); o.Attempts != 1 {
				t.Errorf("a recall counted: %+v", o)
			}
		}
		_ = a
	})
}

// TestShares logs how work is divided, and checks that no slot is idle for more than
// 50 ms while tasks wait elsewhere.
func TestShares(t *testing.T) {
	for _, c := range []struct {
		name               string
		producers, workers int
		slowest            int // how many times slower the first worker is
	}{{"one producer and eight workers", 1, 8, 1}, {"eight producers and one worker", 8, 1, 1}, {"one worker of four twenty times slower", 1, 4, 20}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
				const slots = 4
				each := race.Fewer[uint64](400, 100)
				type state struct {
					busy, done atomic.Int64
				}
				states := make([]*state, c.workers)
				for i := range c.workers {
					s := &state{}
					states[i] = s
					takes := 5 * time.Millisecond
					if i == 0 {
						takes *= time.Duration(c.slowest)
					}
					worker(t, mesh, func(context.Context, order) error {
						s.busy.Add(1)
						sleep(takes)
						s.busy.Add(-1)
						s.done.Add(1)
						return nil
					}, pipeline.Concurrency(slots))
				}
				var producers []*pipeline.Producer[order, pipeline.None]
				var all []*pipeline.Future[pipeline.None]
				for range c.producers {
					p := producer(t, mesh.Node(link.Config{}))
					producers = append(producers, p)
					all = append(all, enqueue(t, p, int(each))...)
				}
				sleep(100 * time.Millisecond)
				halfway := make([]uint64, c.producers)
				idle := make([]time.Duration, c.workers)
				worst := time.Duration(0)
				for open := true; open; {
					sleep(time.Millisecond)
					waiting := 0
					open = false
					for i, p := range producers {
						s := p.Stats()
						waiting += s.Waiting
						for _, w := range s.Workers {
							waiting += max(w.InFlight-w.Slots, 0)
						}
						open = open || s.Depth > 0
						if halfway[i] == 0 && len(all) > 0 && producers[0].Stats().Ended.Acked >= each/2 {
							halfway[i] = s.Ended.Acked
						}
					}
					for i, s := range states {
						if s.busy.Load() < slots && waiting > 0 {
							idle[i] += time.Millisecond
							worst = max(worst, idle[i])
						} else {
							idle[i] = 0
						}
					}
				}
				wait(t, all)
				var done []int64
				for _, s := range states {
					done = append(done, s.done.Load())
				}
				t.Logf("%s: tasks done by worker %v; by producer when the first had half done %v; the longest that a slot was idle while tasks waited %v", c.name, done, halfway, worst)
				if worst > 50*time.Millisecond {
					t.Errorf("a slot was idle for %v while tasks waited", worst)
				}
				for _, n := range halfway {
					if c.producers > 1 && (n < each/2-each/8 || n > each/2+each/8) {
						t.Errorf("producers' shares are uneven: %v", halfway)
					}
				}
			})
		})
	}
}

func TestManyProducersAndFewSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		worker(t, mesh, func(context.Context, order) error { sleep(time.Millisecond); return nil }, pipeline.Concurrency(2))
		var producers []*pipeline.Producer[order, pipeline.None]
		for range 20 {
			producers = append(producers, producer(t, mesh.Node(link.Config{})))
		}
		// All producers are connected then, and have no tasks.
		sleep(time.Second)
		for i, p := range producers {
			before := time.Now()
			if _, err := p.Push(t.Context(), order{}); err != nil {
				t.Error(err)
			}
			if d := time.Since(before); d > 30*time.Millisecond {
				t.Errorf("producer %d waited %v for a worker that has nothing to do", i, d)
			}
		}
		var all []*pipeline.Future[pipeline.None]
		for _, p := range producers {
			all = append(all, enqueue(t, p, 50)...)
		}
		wait(t, all)
	})
}

func TestAWorkerThatDrainsLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		serve := func(context.Context, order) error { sleep(100 * time.Millisecond); return nil }
		p := producer(t, mesh.Node(link.Config{}))
		first := worker(t, mesh, serve, pipeline.Concurrency(4))
		all := enqueue(t, p, 200)
		sleep(250 * time.Millisecond)
		worker(t, mesh, serve, pipeline.Concurrency(4))
		sleep(250 * time.Millisecond)
		mesh.Stop(first)
		wait(t, all)
		for i, f := range all {
			if o := f.Outcome(); o.Attempts != 1 {
				t.Errorf("task %d: %+v", i, o)
			}
		}
	})
}

func TestAProducerThatCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		began := make(chan struct{}, 100)
		worker(t, mesh, func(ctx context.Context, _ order) error {
			began <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}, pipeline.Concurrency(2))
		client := mesh.Node(link.Config{})
		p := producer(t, client)
		all := enqueue(t, p, 5)
		<-began
		<-began
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		left, err := p.Drain(ctx)
		if err != nil || len(left) != 5 {
			t.Fatalf("left %+v, %v", left, err)
		}
		begun := 0
		for i, u := range left {
			var o order
			if err := link.HostOf(client).Codec().Decode(u.Payload, &o); err != nil || o.ID != fmt.Sprint(i) || u.Kept {
				t.Errorf("unfinished %+v, %v", u, err)
			}
			if u.Begun {
				begun++
			}
		}
		if begun < 2 {
			t.Errorf("%d may have begun, want the two that did at least", begun)
		}
		for _, f := range all {
			if _, err := f.Wait(t.Context()); !errors.Is(err, link.Unavailable) || f.Outcome().End != pipeline.EndReturned {
				t.Errorf("%v, %+v", err, f.Outcome())
			}
		}
		if _, err := p.Push(t.Context(), order{}); !errors.Is(err, link.Unavailable) {
			t.Errorf("push to a closed queue: %v", err)
		}
	})
}

func TestWhoMayPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := worker(t, mesh, func(context.Context, order) error { return nil })
		pipeline.Authorize(node, func(a pipeline.Access) error {
			if a.Verb != pipeline.CanPush || a.Stage != "receipts" || a.Peer.Service() != "shop" {
				return fmt.Errorf("only the shop may %v receipts, and not %s %v %s", pipeline.CanPush, a.Peer.Service(), a.Verb, a.Stage)
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := pipeline.Push(ctx, mesh.Node(link.Config{Service: "thief"}), receipts, order{}); !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("a push by one that may not: %v", err)
		}
		if _, err := pipeline.Push(t.Context(), mesh.Node(link.Config{Service: "shop"}), receipts, order{}); err != nil {
			t.Errorf("a push by one that may: %v", err)
		}
	})
}

func TestStatsAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := worker(t, mesh, func(context.Context, order) error { return nil })
		client := mesh.Node(link.Config{})
		p := producer(t, client)
		wait(t, enqueue(t, p, 10))
		s, err := pipeline.QueryStats(t.Context(), client, "mailer")
		if err != nil || len(s.Workers) != 1 || s.Workers[0].Done != 10 || s.Workers[0].Stage != "mailer/receipts" || s.Workers[0].Producers != 1 {
			t.Errorf("%+v, %v", s, err)
		}
		if s := pipeline.StatsOf(client); len(s.Queues) != 1 || s.Queues[0].Ended.Acked != 10 || s.Queues[0].Pushed != 10 || len(s.Queues[0].Workers) != 1 || s.Queues[0].Workers[0].Instance != node.Instance() {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhoMayInspect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := worker(t, mesh, func(context.Context, order) error { return nil })
		pipeline.Authorize(node, func(a pipeline.Access) error {
			if a.Verb != pipeline.CanInspect || a.Stage != "" || a.Peer.Service() != "operator" {
				return fmt.Errorf("operators only, and not %s %v %q", a.Peer.Service(), a.Verb, a.Stage)
			}
			return nil
		})
		if _, err := pipeline.QueryStats(t.Context(), mesh.Node(link.Config{Service: "mallory"}), "mailer"); !errors.Is(err, link.PermissionDenied) {
			t.Errorf("somebody: %v", err)
		}
		if _, err := pipeline.QueryStats(t.Context(), mesh.Node(link.Config{Service: "operator"}), "mailer"); err != nil {
			t.Errorf("an operator: %v", err)
		}
	})
}

func TestAPoisonTaskKillsOnlySoManyWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var killed atomic.Int64
		hire := func() {
			var node *link.Node
			ready := make(chan struct{})
			node = worker(t, mesh, func(ctx context.Context, o order) error {
				if o.ID == "0" {
					<-ready
					killed.Add(1)
					// The process ends before it can report anything.
					mesh.Kill(node)
					<-ctx.Done()
				}
				return nil
			}, pipeline.Concurrency(1))
			close(ready)
		}
		p := producer(t, mesh.Node(link.Config{}))
		all := enqueue(t, p, 20)
		for all[0].Outcome().End == pipeline.EndOpen {
			had := killed.Load()
			hire()
			for all[0].Outcome().End == pipeline.EndOpen && killed.Load() == had {
				sleep(time.Second)
			}
		}
		hire()
		wait(t, all[1:])
		o := all[0].Outcome()
		if o.End != pipeline.EndDeadLettered || o.Attempts != 5 || killed.Load() != 5 || len(o.History) != 5 {
			t.Errorf("%d workers were killed; %+v", killed.Load(), o)
		}
		for i, f := range all[1:] {
			if o := f.Outcome(); o.Attempts != 1 {
				t.Errorf("task %d beside it: %+v", i+1, o)
			}
		}
	})
}

func TestTheTopologyChoosesTheWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var done [2]atomic.Int64
		var modern atomic.Bool
		modern.Store(true)
		for i := range done {
			cfg := link.Config{Service: "mailer"}
			if i == 1 {
				cfg.Monitors = map[string]func(context.Context) error{"v2": func(context.Context) error {
					if !modern.Load() {
						return errors.New("not any more")
					}
					return nil
				}}
			}
			node := mesh.Node(cfg)
			pipeline.Pull(node, receipts, pipeline.NoResult(func(context.Context, order) error {
				sleep(100 * time.Millisecond)
				done[i].Add(1)
				return nil
			}), pipeline.Concurrency(4))
			mesh.Start(node)
		}
		sleep(5 * time.Second)
		p := producer(t, mesh.Node(link.Config{}), pipeline.RouteVia(link.OnTags("v2")))
		wait(t, enqueue(t, p, 20))
		if done[0].Load() != 0 || done[1].Load() != 20 {
			t.Errorf("done by the workers: %d and %d, want 0 and 20", done[0].Load(), done[1].Load())
		}
		all := enqueue(t, p, 200)
		sleep(200 * time.Millisecond)
		modern.Store(false)
		sleep(10 * time.Second)
		s := p.Stats()
		if s.InFlight != 0 || s.Depth == 0 || len(s.Workers) != 0 {
			t.Errorf("after its tag went: %+v", s)
		}
		modern.Store(true)
		wait(t, all)
		for _, f := range all {
			if o := f.Outcome(); o.Attempts != 1 {
				t.Errorf("outcome %+v", o)
			}
		}
	})
}

// TestAFrozenWorkerIsGivenUpFromItsLastWordOn checks that the time after which a worker is given up
// counts from its last frame, and not from when its silence is noticed.
func TestAFrozenWorkerIsGivenUpFromItsLastWordOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		began := make(chan struct{}, 10)
		w := worker(t, mesh, func(ctx context.Context, _ order) error { began <- struct{}{}; <-ctx.Done(); return ctx.Err() })
		client := mesh.Node(link.Config{})
		p := producer(t, client)
		f := enqueue(t, p, 1)[0]
		<-began
		worker(t, mesh, func(context.Context, order) error { return nil })
		mesh.Partition(client, w)
		lost := time.Now()
		for p.Stats().InFlight > 0 {
			sleep(10 * time.Millisecond)
		}
		if d := time.Since(lost); d > 5*time.Second+50*time.Millisecond {
			t.Errorf("it was given up after %v", d)
		}
		wait(t, []*pipeline.Future[pipeline.None]{f})
	})
}
