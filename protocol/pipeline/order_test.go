package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// diary notes when handlers of tasks with a key begin and return.
type diary struct {
	mu      sync.Mutex // guards the fields below
	running int
	// beside counts the handlers that began while another ran.
	beside int
	// order has the IDs of tasks in the order in which their handlers began.
	order  []string
	fences []uint64
}

func (d *diary) begin(ctx context.Context, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.running++; d.running > 1 {
		d.beside++
	}
	d.order = append(d.order, id)
	d.fences = append(d.fences, pipeline.TaskOf(ctx).Fence)
}

func (d *diary) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running--
}

func (d *diary) check(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.beside > 0 {
		t.Errorf("%d handlers of the key began while another ran", d.beside)
	}
	if !slices.Equal(d.order, want) {
		t.Errorf("begun in the order %v, want %v", d.order, want)
	}
	if !slices.IsSorted(d.fences) {
		t.Errorf("fences %v do not grow in the order of the key", d.fences)
	}
}

// TestTheNextOfAKeyWaitsForAHandlerThatIsDeaf checks that no other handler of a key begins before one
// has returned that ignores the end of its context.
func TestTheNextOfAKeyWaitsForAHandlerThatIsDeaf(t *testing.T) {
	for name, c := range map[string]struct {
		opts []pipeline.PushOption
		want []string
		end  pipeline.End
	}{
		"MaxRun":   {nil, []string{"0", "0", "1"}, pipeline.EndAcked},
		"deadline": {[]pipeline.PushOption{pipeline.Deadline(time.Date(2000, 1, 1, 0, 0, 4, 0, time.UTC))}, []string{"0", "1"}, pipeline.EndExpired},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var d diary
				var once sync.Once
				serve := func(ctx context.Context, o order) error {
					d.begin(ctx, o.ID)
					defer d.end()
					// The first handler ignores the end of ctx.
					once.Do(func() { sleep(time.Minute) })
					return ctx.Err()
				}
				worker(t, mesh, serve, pipeline.MaxRun(5*time.Second))
				worker(t, mesh, serve, pipeline.MaxRun(5*time.Second))
				p := producer(t, mesh.Node(link.Config{}))
				first, err := p.Enqueue(t.Context(), order{ID: "0"}, append(c.opts, pipeline.Key("k"))...)
				if err != nil {
					t.Fatal(err)
				}
				second, err := p.Enqueue(t.Context(), order{ID: "1"}, pipeline.Key("k"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := second.Wait(t.Context()); err != nil {
					t.Error(err)
				}
				if o := first.Outcome(); o.End != c.end {
					t.Errorf("the first: %+v", o)
				}
				d.check(t, c.want...)
			})
		})
	}
}

// TestADeadlineThatEndsTheLastAttemptIsToldAsExpired checks that a task whose deadline ends its last
// attempt expires, and does not become a dead letter.
func TestADeadlineThatEndsTheLastAttemptIsToldAsExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		worker(t, mesh, func(ctx context.Context, _ order) error { <-ctx.Done(); return ctx.Err() })
		p := producer(t, mesh.Node(link.Config{}), pipeline.Attempts(1))
		f := enqueue(t, p, 1, pipeline.Deadline(time.Now().Add(3*time.Second)))[0]
		if _, err := f.Wait(t.Context()); !errors.Is(err, link.DeadlineExceeded) || f.Outcome().End != pipeline.EndExpired {
			t.Errorf("%v, %+v", err, f.Outcome())
		}
	})
}

// TestAProducerThatComesBackLearnsWhatRuns closes a durable producer while a task of a
// key runs, and opens it again at once. Neither the task nor the next of its key may run
// beside the handler, and what was done meanwhile must not be done again.
func TestAProducerThatComesBackLearnsWhatRuns(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var d diary
		began := make(chan struct{}, 10)
		serve := func(ctx context.Context, o order) error {
			d.begin(ctx, o.ID)
			defer d.end()
			began <- struct{}{}
			sleep(3 * time.Second)
			return nil
		}
		for range 3 {
			worker(t, mesh, serve)
		}
		p := producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		enqueue(t, p, 3, pipeline.Key("k"))
		<-began
		if left := closeQueue(t, p); len(left) != 3 || !left[0].Begun {
			t.Fatalf("left %+v", left)
		}
		// The handler of task 0 still runs.
		p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		<-began
		closeQueue(t, p)
		// The handler of task 1 returns while there is no producer.
		sleep(4 * time.Second)
		p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		if left, err := p.Drain(t.Context()); len(left) != 0 || err != nil {
			t.Errorf("%d left, %v", len(left), err)
		}
		d.check(t, "0", "1", "2")
	})
}

// TestAProducerThatComesBackWaitsForAWorkerThatIsGone checks that a producer that comes back waits for
// a worker of its earlier run no longer than for any lost worker.
func TestAProducerThatComesBackWaitsForAWorkerThatIsGone(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		began := make(chan struct{}, 10)
		w := worker(t, mesh, func(ctx context.Context, _ order) error { began <- struct{}{}; <-ctx.Done(); return ctx.Err() })
		p := producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		enqueue(t, p, 2, pipeline.Key("k"))
		<-began
		closeQueue(t, p)
		mesh.Kill(w)
		var d diary
		worker(t, mesh, func(ctx context.Context, o order) error { d.begin(ctx, o.ID); defer d.end(); return nil })
		p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		reopened := time.Now()
		f, err := p.Enqueue(t.Context(), order{ID: "new"})
		if err != nil {
			t.Fatal(err)
		}
		wait(t, []*pipeline.Future[pipeline.None]{f})
		if d := time.Since(reopened); d > time.Second {
			t.Errorf("a task without a key waited %v for those of an earlier run", d)
		}
		if left, err := p.Drain(t.Context()); len(left) != 0 || err != nil {
			t.Errorf("%d left, %v", len(left), err)
		}
		d.check(t, "new", "0", "1")
		// The next run does not wait for that worker again.
		p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		reopened = time.Now()
		wait(t, enqueue(t, p, 1, pipeline.Key("k")))
		if d := time.Since(reopened); d > time.Second {
			t.Errorf("a task waited %v for a worker that was given up in an earlier run", d)
		}
	})
}

// TestTheNextOfAKeyLeavesWhenTheEndIsWritten checks that the next task of a key is not sent
// while the disk has no room to record that the first one is done.
func TestTheNextOfAKeyLeavesWhenTheEndIsWritten(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var d diary
		var faults pipeline.Faults
		p := producer(t, mesh.Node(link.Config{}), faults.On(dir))
		all := enqueue(t, p, 3, pipeline.Key("k"))
		faults.Set(wal.ErrNoSpace, pipeline.RecordEnd)
		worker(t, mesh, func(ctx context.Context, o order) error { d.begin(ctx, o.ID); defer d.end(); return nil })
		sleep(3 * time.Second)
		d.check(t, "0")
		faults.Set(nil)
		wait(t, all)
		d.check(t, "0", "1", "2")
	})
}

// TestAnIDOutlivesItsQueue checks that a durable queue that was closed and opened again still knows the
// ID of a task and its outcome.
func TestAnIDOutlivesItsQueue(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "mailer"})
		var runs atomic.Int64
		pipeline.Pull(node, totals, func(_ context.Context, o order) (int64, error) { runs.Add(1); return 2 * o.Cents, nil })
		mesh.Start(node)
		open := func() *pipeline.Producer[order, int64] {
			p, err := pipeline.NewProducer(mesh.Node(link.Config{}), totals, pipeline.Durable(dir), pipeline.SyncEnds())
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		push := func(p *pipeline.Producer[order, int64], id string, want int64) {
			t.Helper()
			if got, err := p.Push(t.Context(), order{Cents: 21}, pipeline.ID(id)); err != nil || got != 42 || runs.Load() != want {
				t.Errorf("got %d, %v; %d runs, want %d", got, err, runs.Load(), want)
			}
		}
		p := open()
		push(p, "a", 1)
		if _, err := p.Close(); err != nil {
			t.Fatal(err)
		}
		sleep(time.Minute)
		p = open()
		// The task is not done again, and has its result.
		push(p, "a", 1)
		push(p, "b", 2)
		f, err := p.Enqueue(t.Context(), order{Cents: 21}, pipeline.ID("b"))
		if err != nil || f.Outcome().End != pipeline.EndAcked || f.Outcome().Worker != node.Instance() || f.Outcome().Attempts != 1 {
			t.Errorf("%+v, %v", f.Outcome(), err)
		}
		if _, err := p.Close(); err != nil {
			t.Fatal(err)
		}
		sleep(61 * time.Second)
		p = open()
		push(p, "b", 2)
		// The ID is forgotten by now.
		push(p, "a", 3)
		if _, err := p.Close(); err != nil {
			t.Fatal(err)
		}
		sleep(3 * time.Minute)
		p = open()
		push(p, "c", 4)
		if s := p.Stats().Disk; s.Live > 1000 {
			t.Errorf("disk %+v: IDs whose window is over are kept", s)
		}
	})
}

// TestADeadLetterIsToldOnceItIsWritten checks that a dead letter is not reported before it is written,
// so that it is reported only once if the process crashes before that.
func TestADeadLetterIsToldOnceItIsWritten(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		worker(t, mesh, func(context.Context, order) error { return pipeline.Reject(errors.New("no")) })
		var told atomic.Int64
		onDead := pipeline.OnDeadLetter(func(pipeline.DeadLetter) { told.Add(1) })
		var faults pipeline.Faults
		p := producer(t, mesh.Node(link.Config{}), faults.On(dir), onDead)
		faults.Set(fmt.Errorf("disk: %w", wal.ErrNoSpace), pipeline.RecordDead)
		enqueue(t, p, 1, pipeline.ID("x"))
		sleep(time.Second)
		if told.Load() != 0 {
			t.Error("a dead letter was told before it was written")
		}
		// What is not written is lost, as in a crash.
		closeQueue(t, p)
		p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir), onDead)
		sleep(10 * time.Second)
		if told.Load() != 1 || len(p.DeadLetters()) != 1 {
			t.Errorf("told %d times; dead letters %+v", told.Load(), p.DeadLetters())
		}
		if _, err := p.Push(t.Context(), order{}, pipeline.ID("x")); !errors.Is(err, link.Aborted) {
			t.Errorf("a push with the ID of a dead letter: %v", err)
		}
	})
}
