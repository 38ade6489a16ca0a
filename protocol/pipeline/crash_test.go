package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// crashed copies the folder of an open queue as it is on disk, and returns the copy: it is what a
// process finds that is started again after a crash.
func crashed(t *testing.T, dir string) string {
	t.Helper()
	to := folder(t)
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, f.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestIDsAreKnownAfterACrash checks that a queue still knows the IDs of tasks that were done, that were
// dead letters or that had not ended.
func TestIDsAreKnownAfterACrash(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var done tally
		open := make(chan struct{})
		worker(t, mesh, func(ctx context.Context, o order) error {
			switch o.ID {
			case "dead":
				return pipeline.Reject(errors.New("no"))
			case "open":
				select {
				case <-open:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			done.add(o.ID)
			return nil
		})
		node := mesh.Node(link.Config{})
		p := producer(t, node, pipeline.Durable(dir))
		push := func(p *pipeline.Producer[order, pipeline.None], id string) *pipeline.Future[pipeline.None] {
			f, err := p.Enqueue(t.Context(), order{ID: id}, pipeline.ID(id))
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		wait(t, []*pipeline.Future[pipeline.None]{push(p, "done")})
		<-push(p, "dead").Done()
		push(p, "open")
		sleep(time.Second)
		dir = crashed(t, dir)
		if err := node.Close(); err != nil {
			t.Fatal(err)
		}

		p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		synctest.Wait()
		if s := p.Stats(); s.Depth != 1 || s.DeadLetters != 1 {
			t.Errorf("opened again: %+v", s)
		}
		// The result comes as soon as the worker is connected, so the task must not end sooner.
		close(open)
		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := push(p, "dead").Wait(soon); !errors.Is(err, link.Aborted) {
			t.Errorf("a dead letter that is pushed again: %v", err)
		}
		wait(t, []*pipeline.Future[pipeline.None]{push(p, "done"), push(p, "open")})
		if a, b := done.count("done"), done.count("open"); a != 1 || b != 1 {
			t.Errorf("what was done before ran %d times, what was not %d times, want 1 each", a, b)
		}
		// An ID is known for two minutes.
		sleep(3 * time.Minute)
		wait(t, []*pipeline.Future[pipeline.None]{push(p, "done")})
		if n := done.count("done"); n != 2 {
			t.Errorf("it ran %d times, and its ID was forgotten", n)
		}
	})
}

// TestBoundsHoldAfterACrash checks that a queue that is opened with lower bounds after a crash keeps
// to them: to those of IDs and their results, of dead letters, and of tasks. No task is lost for that.
func TestBoundsHoldAfterACrash(t *testing.T) {
	const n = 6
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var done tally
		open := make(chan struct{})
		worker(t, mesh, func(ctx context.Context, o order) error {
			switch {
			case strings.HasPrefix(o.ID, "dead"):
				return pipeline.Reject(errors.New("no"))
			case strings.HasPrefix(o.ID, "open"):
				select {
				case <-open:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			done.add(o.ID)
			return nil
		})
		enqueue := func(p *pipeline.Producer[order, pipeline.None], kind string) (all []*pipeline.Future[pipeline.None]) {
			for i := range n {
				id := fmt.Sprint(kind, i)
				f, err := p.Enqueue(t.Context(), order{ID: id}, pipeline.ID(id))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, f)
			}
			return all
		}
		node := mesh.Node(link.Config{})
		p := producer(t, node, pipeline.Durable(dir))
		for _, f := range enqueue(p, "dead") {
			<-f.Done()
		}
		wait(t, enqueue(p, "done"))
		enqueue(p, "open")
		sleep(time.Second)
		dir = crashed(t, dir)
		if err := node.Close(); err != nil {
			t.Fatal(err)
		}

		node = mesh.Node(link.Config{})
		few := []pipeline.QueueOption{pipeline.Durable(dir), pipeline.Capacity(2, 0), pipeline.KeepDeadLetters(2, 0), pipeline.Remember(2*n+2, 0)}
		p = producer(t, node, few...)
		s := p.Stats()
		if s.Depth != n || s.DeadLetters != 2 || s.DeadDropped != n-2 {
			t.Errorf("opened again: %+v", s)
		}
		for i, d := range p.DeadLetters() {
			if want := fmt.Sprint("dead", n-2+i); !strings.Contains(string(d.Payload), want) {
				t.Errorf("dead letter %d is not %s, the oldest of those that came last", i, want)
			}
		}
		if _, err := p.TryPush(t.Context(), order{ID: "more"}); !errors.Is(err, link.ResourceExhausted) {
			t.Errorf("a push beyond the capacity: %v", err)
		}
		sleep(time.Second)
		// What was dropped must not come back.
		dir = crashed(t, dir)
		if err := node.Close(); err != nil {
			t.Fatal(err)
		}

		p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		synctest.Wait()
		if s := p.Stats(); s.Depth != n || s.DeadLetters != 2 || s.DeadDropped != 0 {
			t.Errorf("opened once more: %+v", s)
		}
		// Results come as soon as the worker is connected, so the tasks must not end sooner.
		close(open)
		// All of these are known, because they had not ended.
		wait(t, enqueue(p, "open"))
		wait(t, enqueue(p, "done"))
		known := 0
		for i := range n {
			if c := done.count(fmt.Sprint("open", i)); c != 1 {
				t.Errorf("task open%d was done %d times", i, c)
			}
			if done.count(fmt.Sprint("done", i)) == 1 {
				known++
			}
		}
		if known != 2 || done.count(fmt.Sprint("done", n-1)) != 1 {
			t.Errorf("%d IDs of tasks that were done are known, want the last 2, beside %d that had not and %d dead letters", known, n, n)
		}
	})
}

// TestAStageBetweenTwoSurvivesACrash has the process of a stage crash when the output of a task is on
// its disk and the task is not acked yet, and expects that nothing is done twice or lost.
func TestAStageBetweenTwoSurvivesACrash(t *testing.T) {
	const n = 4
	for name, first := range map[string]bool{"the task comes again before it is done": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var done tally
				work := func() { worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil }) }
				middle := mesh.Node(link.Config{Service: "parser"})
				var faults pipeline.Faults
				out := producer(t, middle, faults.On(dir))
				parse(mesh, middle, out)
				// No output is accepted, so no task is acked.
				faults.Hold()
				all := enqueueLines(t, mesh, n)
				sleep(time.Second)
				dir = crashed(t, dir)
				mesh.Crash(middle)

				middle = mesh.Node(link.Config{Service: "parser"})
				out = producer(t, middle, pipeline.Durable(dir))
				had := out.Stats().Depth
				if first {
					work()
					for out.Stats().Depth > 0 {
						sleep(100 * time.Millisecond)
					}
				}
				parse(mesh, middle, out)
				wait(t, all)
				if !first {
					work()
				}
				if left, err := out.Drain(t.Context()); len(left) > 0 || err != nil {
					t.Errorf("%d left, %v", len(left), err)
				}
				for i := range n {
					if c := done.count(fmt.Sprint(i)); c != 1 {
						t.Errorf("task %d was done %d times", i, c)
					}
				}
				if had == 0 || out.Stats().Duplicates == 0 {
					t.Errorf("%d tasks were on the disk after the crash, %d came again", had, out.Stats().Duplicates)
				}
			})
		})
	}
}

// TestSyncEndsTellsNothingThatIsNotSynced checks that a queue with SyncEnds neither reports the end
// of a task nor begins the next task of its key before that end is synced. Without it, a queue does both.
func TestSyncEndsTellsNothingThatIsNotSynced(t *testing.T) {
	for name, opts := range syncs() {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var faults pipeline.Faults
				p := producer(t, mesh.Node(link.Config{}), append(opts, faults.On(dir))...)
				var began atomic.Int64
				hold := make(chan struct{})
				worker(t, mesh, func(context.Context, order) error { began.Add(1); <-hold; return nil })
				all := enqueue(t, p, 2, pipeline.Key("k"))
				for began.Load() == 0 {
					sleep(10 * time.Millisecond)
				}
				release := faults.HoldSync()
				close(hold)
				sleep(time.Minute)
				told := len(opts) == 0
				if ended := all[0].Outcome().End == pipeline.EndAcked; ended != told || (began.Load() == 2) != told {
					t.Errorf("while its end is not synced: told %v, %d tasks of the key have begun; want %v", ended, began.Load(), told)
				}
				release()
				wait(t, all)
			})
		})
	}
}
