package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// producer makes a queue that is closed at the end of the test.
func producer(t *testing.T, node *link.Node, opts ...pipeline.QueueOption) *pipeline.Producer[order, pipeline.None] {
	t.Helper()
	p, err := pipeline.NewProducer(node, receipts, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = p.Close() })
	return p
}

// enqueue puts n tasks in a queue.
func enqueue(t *testing.T, p *pipeline.Producer[order, pipeline.None], n int, opts ...pipeline.PushOption) []*pipeline.Future[pipeline.None] {
	t.Helper()
	var out []*pipeline.Future[pipeline.None]
	for i := range n {
		f, err := p.Enqueue(t.Context(), order{ID: fmt.Sprint(i), Cents: int64(i)}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

// wait waits until all tasks have ended, and fails the test unless all are done.
func wait(t *testing.T, futures []*pipeline.Future[pipeline.None]) {
	t.Helper()
	for i, f := range futures {
		if _, err := f.Wait(t.Context()); err != nil {
			t.Errorf("task %d: %v, %+v", i, err, f.Outcome())
		}
	}
}

func TestVerbs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var mu sync.Mutex
		var began []time.Duration
		start := time.Now()
		here := worker(t, mesh, func(ctx context.Context, o order) error {
			mu.Lock()
			began = append(began, time.Since(start))
			mu.Unlock()
			task := pipeline.TaskOf(ctx)
			switch o.ID {
			case "retry":
				if task.Attempt == 1 {
					return pipeline.Retry(10*time.Second, errors.New("later"))
				}
			case "release":
				if task.Delivery < 3 {
					return pipeline.Release("not here")
				}
				if task.Attempt != 1 {
					t.Errorf("a release counted: attempt %d", task.Attempt)
				}
			case "reject":
				return pipeline.Reject(errors.New("nonsense"))
			case "panic":
				panic("oh") //nolint:forbidigo // what is tested
			case "poison":
				return errors.New("no")
			}
			return nil
		})
		p := producer(t, mesh.Node(link.Config{}), pipeline.Attempts(3))
		push := func(id string) *pipeline.Future[pipeline.None] {
			f, err := p.Enqueue(t.Context(), order{ID: id})
			if err != nil {
				t.Fatal(err)
			}
			<-f.Done()
			return f
		}
		if o := push("retry").Outcome(); o.End != pipeline.EndAcked || o.Attempts != 2 || len(o.History) != 1 || o.History[0].Cause != "later" || o.History[0].Outcome != "failed" || o.History[0].Worker != here.Instance() {
			t.Errorf("retry: %+v", o)
		}
		mu.Lock()
		if d := began[1] - began[0]; d < 10*time.Second || d > 11*time.Second {
			t.Errorf("it was tried again after %v, want 10 s", d)
		}
		mu.Unlock()
		if o := push("release").Outcome(); o.End != pipeline.EndAcked || o.Attempts != 1 || len(o.History) != 2 || o.History[0].Counted || o.History[0].Outcome != "released" {
			t.Errorf("release: %+v", o)
		}
		if o := push("reject").Outcome(); o.End != pipeline.EndDeadLettered || o.Attempts != 1 || o.Cause != "nonsense" {
			t.Errorf("reject: %+v", o)
		}
		if o := push("panic").Outcome(); o.End != pipeline.EndDeadLettered || o.Attempts != 3 || !strings.Contains(o.Cause, "panicked: oh") {
			t.Errorf("panic: %+v", o)
		}
		mu.Lock()
		began = nil
		mu.Unlock()
		f := push("poison")
		if _, err := f.Wait(t.Context()); !errors.Is(err, link.Aborted) || !strings.Contains(err.Error(), "after 3 attempts: no") {
			t.Errorf("poison: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(began) != 3 || began[1]-began[0] < 750*time.Millisecond || began[2]-began[1] < 3*time.Second {
			t.Errorf("poison was tried at %v, want three times, 1 s and 4 s apart", began)
		}
	})
}

func TestDeadLettersAreKeptAndRedriven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var mended atomic.Bool
		worker(t, mesh, func(context.Context, order) error {
			if mended.Load() {
				return nil
			}
			return pipeline.Reject(errors.New("broken"))
		})
		var told atomic.Int64
		client := mesh.Node(link.Config{})
		p := producer(t, client, pipeline.KeepDeadLetters(5, 0), pipeline.OnDeadLetter(func(d pipeline.DeadLetter) {
			if d.Cause != "broken" || len(d.History) != 1 {
				t.Errorf("told of %+v", d)
			}
			told.Add(1)
		}))
		for _, f := range enqueue(t, p, 8, pipeline.Key("k")) {
			<-f.Done()
		}
		dead := p.DeadLetters()
		if len(dead) != 5 || told.Load() != 8 || p.Stats().DeadDropped != 3 || p.Stats().DeadLetters != 5 {
			t.Fatalf("%d dead letters, told of %d, stats %+v", len(dead), told.Load(), p.Stats())
		}
		var o order
		if err := link.HostOf(client).Codec().Decode(dead[0].Payload, &o); err != nil || o.ID != "3" || dead[0].Key != "k" {
			t.Errorf("the oldest is %+v, %v", dead[0], err)
		}
		mended.Store(true)
		if n, err := p.Redrive(t.Context(), func(d pipeline.DeadLetter) bool { return d.ID != dead[4].ID }); n != 4 || err != nil {
			t.Errorf("redrove %d, %v", n, err)
		}
		if left, err := p.Drain(t.Context()); len(left) > 0 || err != nil {
			t.Errorf("left %v, %v", left, err)
		}
		if s := p.Stats(); s.Ended.Acked != 4 || s.DeadLetters != 1 {
			t.Errorf("stats %+v", s)
		}
		if n := p.Purge(nil); n != 1 || len(p.DeadLetters()) != 0 {
			t.Errorf("purged %d", n)
		}
	})
}

func TestOneTaskOfAKeyAtATimeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var mu sync.Mutex
		next := map[string]int64{}
		running := map[string]bool{}
		serve := func(ctx context.Context, o order) error {
			key := pipeline.TaskOf(ctx).Key
			mu.Lock()
			if running[key] || o.Cents < next[key] {
				t.Errorf("task %d of %s began; another runs: %v, next is %d", o.Cents, key, running[key], next[key])
			}
			running[key] = true
			mu.Unlock()
			sleep(3 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			running[key] = false
			if o.Cents == 7 && pipeline.TaskOf(ctx).Attempt == 1 {
				return errors.New("once")
			}
			next[key] = o.Cents + 1
			return nil
		}
		worker(t, mesh, serve)
		worker(t, mesh, serve)
		p := producer(t, mesh.Node(link.Config{}))
		var all []*pipeline.Future[pipeline.None]
		for i := range 20 {
			for _, key := range []string{"a", "b", "c"} {
				f, err := p.Enqueue(t.Context(), order{Cents: int64(i)}, pipeline.Key(key))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, f)
			}
		}
		wait(t, all)
	})
}

func TestPrioritiesTenantsDelaysAndExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var mu sync.Mutex
		var names []string
		start := time.Now()
		p := producer(t, mesh.Node(link.Config{}))
		push := func(id string, opts ...pipeline.PushOption) *pipeline.Future[pipeline.None] {
			f, err := p.Enqueue(t.Context(), order{ID: id}, opts...)
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		late := push("late", pipeline.Delay(30*time.Second))
		gone := push("gone", pipeline.TTL(time.Second))
		var all []*pipeline.Future[pipeline.None]
		for i := range 3 {
			all = append(all, push(fmt.Sprint("low", i), pipeline.Priority(1)))
		}
		for i := range 3 {
			all = append(all, push(fmt.Sprint("big", i), pipeline.Tenant("big"), pipeline.Header("pad", strings.Repeat("x", 4000))))
		}
		all = append(all, push("small", pipeline.Tenant("small")), push("high", pipeline.Priority(9)))
		sleep(2 * time.Second)
		if _, err := gone.Wait(t.Context()); !errors.Is(err, link.DeadlineExceeded) || gone.Outcome().End != pipeline.EndExpired {
			t.Errorf("gone: %v", err)
		}
		worker(t, mesh, func(ctx context.Context, o order) error {
			mu.Lock()
			defer mu.Unlock()
			names = append(names, o.ID)
			if o.ID == "big0" && len(pipeline.TaskOf(ctx).Header("pad")) != 4000 {
				t.Error("the header is missing")
			}
			return nil
		}, pipeline.Concurrency(1))
		wait(t, all)
		mu.Lock()
		got := strings.Join(names, " ")
		mu.Unlock()
		if got != "high big0 small big1 big2 low0 low1 low2" {
			t.Errorf("order %s", got)
		}
		wait(t, []*pipeline.Future[pipeline.None]{late})
		if d := time.Since(start); d < 30*time.Second || d > 31*time.Second {
			t.Errorf("the delayed task was done after %v", d)
		}
	})
}

func TestCancelAndDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var began, causes atomic.Int64
		p := producer(t, mesh.Node(link.Config{}))
		first := enqueue(t, p, 1)[0]
		first.Cancel()
		if _, err := first.Wait(t.Context()); !errors.Is(err, link.Canceled) {
			t.Errorf("canceled before it began: %v", err)
		}
		worker(t, mesh, func(ctx context.Context, _ order) error {
			began.Add(1)
			<-ctx.Done()
			if cause := context.Cause(ctx); cause != nil {
				causes.Add(1)
			}
			return context.Cause(ctx)
		}, pipeline.Concurrency(1))
		running := enqueue(t, p, 2)
		sleep(time.Second)
		if err := p.Cancel(running[0].ID()); err != nil {
			t.Error(err)
		}
		if _, err := running[0].Wait(t.Context()); !errors.Is(err, link.Canceled) {
			t.Errorf("canceled while it ran: %v", err)
		}
		// The other task begins.
		sleep(time.Second)
		running[1].Cancel()
		<-running[1].Done()
		if err := p.Cancel(running[1].ID()); !errors.Is(err, link.NotFound) {
			t.Errorf("canceling it again: %v", err)
		}
		before := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := p.Push(ctx, order{}); !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("push until a deadline: %v", err)
		}
		f, err := p.Enqueue(t.Context(), order{}, pipeline.Deadline(time.Now().Add(3*time.Second)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Wait(t.Context()); !errors.Is(err, link.DeadlineExceeded) || f.Outcome().End != pipeline.EndExpired {
			t.Errorf("a task with a deadline: %v, %+v", err, f.Outcome())
		}
		if d := time.Since(before); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("both took %v, want 5 s", d)
		}
		if causes.Load() < 4 {
			t.Errorf("%d handlers were canceled, of %d", causes.Load(), began.Load())
		}
	})
}

func TestIDsAreDeduplicated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil })
		p := producer(t, mesh.Node(link.Config{}))
		a, err := p.Enqueue(t.Context(), order{ID: "x"}, pipeline.ID("one"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := p.Enqueue(t.Context(), order{ID: "x"}, pipeline.ID("one"))
		if err != nil {
			t.Fatal(err)
		}
		wait(t, []*pipeline.Future[pipeline.None]{a, b})
		if _, err := p.Push(t.Context(), order{ID: "x"}, pipeline.ID("one")); err != nil || a.ID() != b.ID() || done.count("x") != 1 {
			t.Errorf("%v; %s and %s; it ran %d times", err, a.ID(), b.ID(), done.count("x"))
		}
		sleep(3 * time.Minute)
		if _, err := p.Push(t.Context(), order{ID: "x"}, pipeline.ID("one")); err != nil || done.count("x") != 2 {
			t.Errorf("after the window: %v; it ran %d times", err, done.count("x"))
		}
	})
}

func TestAFullQueueHoldsPushesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		p := producer(t, mesh.Node(link.Config{}), pipeline.Capacity(10, 0))
		all := enqueue(t, p, 10)
		if _, err := p.TryPush(t.Context(), order{}); !errors.Is(err, link.ResourceExhausted) {
			t.Errorf("TryPush to a full queue: %v", err)
		}
		if _, err := p.TryPush(t.Context(), order{}, pipeline.FailFast()); !errors.Is(err, link.Unavailable) {
			t.Errorf("FailFast without workers: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Enqueue(ctx, order{}); !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("Enqueue to a full queue: %v", err)
		}
		var more sync.WaitGroup
		for range 30 {
			more.Go(func() {
				if _, err := p.Push(t.Context(), order{}); err != nil {
					t.Error(err)
				}
			})
		}
		sleep(time.Second)
		worker(t, mesh, func(context.Context, order) error { return nil })
		more.Wait()
		wait(t, all)
	})
}

func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "mailer"})
		var mu sync.Mutex
		var sizes []int
		pipeline.PullBatch(node, receipts, func(_ context.Context, batch []*pipeline.Item[order, pipeline.None]) error {
			mu.Lock()
			defer mu.Unlock()
			sizes = append(sizes, len(batch))
			for _, item := range batch {
				if item.Value.Cents == 13 && item.Task.Attempt == 1 {
					item.Nack(errors.New("unlucky"))
				}
			}
			return nil
		}, pipeline.Batch(10, 100*time.Millisecond), pipeline.Concurrency(1))
		mesh.Start(node)
		p := producer(t, mesh.Node(link.Config{}))
		all := enqueue(t, p, 25)
		before := time.Now()
		wait(t, all[20:])
		if d := time.Since(before); d < 100*time.Millisecond || d > 200*time.Millisecond {
			t.Errorf("the last batch waited for %v, want 100 ms", d)
		}
		wait(t, all)
		if fmt.Sprint(sizes) != "[10 10 5 1]" || all[13].Outcome().Attempts != 2 {
			t.Errorf("batches of %v; %+v", sizes, all[13].Outcome())
		}
	})
}

func TestTheContextOfABatchIsOfAllItsTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "mailer"})
		pipeline.PullBatch(node, receipts, func(ctx context.Context, batch []*pipeline.Item[order, pipeline.None]) error {
			if task := pipeline.TaskOf(ctx); task != nil {
				t.Errorf("the context of a batch of %d is that of task %s", len(batch), task.ID())
			}
			for _, item := range batch {
				if task := pipeline.TaskOf(item.Context()); task != item.Task { //nolint:contextcheck // each task has its own
					t.Errorf("the context of an item is that of %+v", task)
				}
			}
			pipeline.Extend(ctx, time.Hour)
			sleep(10 * time.Minute)
			return ctx.Err()
		}, pipeline.Batch(3, time.Second), pipeline.MaxRun(time.Minute))
		mesh.Start(node)
		all := enqueue(t, producer(t, mesh.Node(link.Config{})), 3)
		wait(t, all)
		for _, f := range all {
			if n := f.Outcome().Attempts; n != 1 {
				t.Errorf("%d attempts", n)
			}
		}
	})
}

func TestStagesInSeries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var done tally
		worker(t, mesh, func(ctx context.Context, o order) error {
			sleep(10 * time.Millisecond)
			done.add(o.ID)
			if pipeline.TaskOf(ctx).Key != "k"+o.ID {
				t.Errorf("the key is %q", pipeline.TaskOf(ctx).Key)
			}
			return nil
		}, pipeline.Concurrency(2))
		parse := pipeline.NewStage[string, pipeline.None]("parser", "lines")
		middle := mesh.Node(link.Config{Service: "parser"})
		out := producer(t, middle, pipeline.Capacity(5, 0))
		pipeline.Through(middle, parse, out, func(_ context.Context, line string) (order, error) { return order{ID: line}, nil })
		mesh.Start(middle)
		client := mesh.Node(link.Config{})
		in, err := pipeline.NewProducer(client, parse)
		if err != nil {
			t.Fatal(err)
		}
		var all []*pipeline.Future[pipeline.None]
		for i := range 100 {
			f, err := in.Enqueue(t.Context(), fmt.Sprint(i), pipeline.Key(fmt.Sprint("k", i)))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, f)
		}
		sleep(50 * time.Millisecond)
		// There is room for two slots and what they prefetch, five in the queue, and 16 slots in between.
		if acked := in.Stats().Ended.Acked; acked > 40 {
			t.Errorf("%d tasks were acked while the stage behind is full", acked)
		}
		wait(t, all)
		if left, err := out.Drain(t.Context()); len(left) != 0 || err != nil {
			t.Errorf("left %v, %v", left, err)
		}
		for i := range 100 {
			if done.count(fmt.Sprint(i)) != 1 {
				t.Errorf("task %d was done %d times", i, done.count(fmt.Sprint(i)))
			}
		}
		if left, err := in.Close(); len(left) != 0 || err != nil {
			t.Errorf("left %v, %v", left, err)
		}
	})
}
