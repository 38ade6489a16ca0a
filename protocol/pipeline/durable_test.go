package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// folder returns the path of a folder that no other queue uses.
func folder(t *testing.T) string { t.Helper(); return filepath.Join(t.TempDir(), "queue") }

func closeQueue(t *testing.T, p *pipeline.Producer[order, pipeline.None]) []pipeline.Unfinished {
	t.Helper()
	left, err := p.Close()
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// syncs returns the options that say when the ends of tasks are synced, by what they say.
func syncs() map[string][]pipeline.QueueOption {
	return map[string][]pipeline.QueueOption{"ends are synced later": nil, "ends are synced first": {pipeline.SyncEnds()}}
}

func TestDurableTasksOutliveTheirProducer(t *testing.T) {
	for name, opts := range syncs() {
		t.Run(name, func(t *testing.T) {
			opts := append(opts, pipeline.Durable(folder(t)))
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var works atomic.Bool
				var done tally
				serve := func(ctx context.Context, o order) error {
					switch {
					case !works.Load() && o.ID == "dead":
						return pipeline.Reject(errors.New("no"))
					case !works.Load():
						return pipeline.Retry(time.Hour, errors.New("not yet"))
					}
					done.add(o.ID)
					if task := pipeline.TaskOf(ctx); o.ID != "new" && (task.Attempt != 2 || task.Key != "k"+o.ID) {
						t.Errorf("task %+v", task)
					}
					return nil
				}
				worker(t, mesh, serve)
				p := producer(t, mesh.Node(link.Config{}), opts...)
				if _, err := p.Enqueue(t.Context(), order{ID: "dead"}); err != nil {
					t.Fatal(err)
				}
				var ids []string
				for i := range 100 {
					f, err := p.Enqueue(t.Context(), order{ID: fmt.Sprint(i)}, pipeline.Key(fmt.Sprint("k", i)), pipeline.ID(fmt.Sprint(i)))
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, f.ID())
				}
				// Each task fails once.
				sleep(time.Second)
				left := closeQueue(t, p)
				if len(left) != 100 || !left[0].Kept || left[0].Attempts != 1 || left[0].ID != ids[0] || left[99].ID != ids[99] {
					t.Fatalf("%d left, the first is %+v", len(left), left[0])
				}
				works.Store(true)
				p = producer(t, mesh.Node(link.Config{}), opts...)
				if s := p.Stats(); s.Depth != 100 || s.DeadLetters != 1 || s.Delayed != 100 {
					t.Errorf("stats %+v", s)
				}
				if d := p.DeadLetters(); len(d) != 1 || d[0].Cause != "no" || len(d[0].History) != 1 || d[0].History[0].Outcome != "failed" {
					t.Errorf("dead letters %+v", d)
				}
				twin, err := p.Enqueue(t.Context(), order{ID: "7"}, pipeline.ID("7"), pipeline.Key("k7"))
				if err != nil || twin.ID() != ids[7] {
					t.Errorf("a twin of a task from before: %v, %v", twin, err)
				}
				// The task is retried after an hour.
				wait(t, []*pipeline.Future[pipeline.None]{twin})
				if left, err := p.Drain(t.Context()); len(left) != 0 || err != nil {
					t.Errorf("%d left, %v", len(left), err)
				}
				for i := range 100 {
					if n := done.count(fmt.Sprint(i)); n != 1 {
						t.Errorf("task %d was done %d times", i, n)
					}
				}
				p = producer(t, mesh.Node(link.Config{}), opts...)
				if s := p.Stats(); s.Depth != 0 || s.DeadLetters != 1 {
					t.Errorf("stats %+v", s)
				}
				f, err := p.Enqueue(t.Context(), order{ID: "new"})
				if err != nil {
					t.Fatal(err)
				}
				for _, id := range ids {
					if id == f.ID() {
						t.Errorf("the ID %s was used again", id)
					}
				}
				if n := p.Purge(nil); n != 1 {
					t.Errorf("purged %d", n)
				}
				closeQueue(t, p)
				if p = producer(t, mesh.Node(link.Config{}), opts...); len(p.DeadLetters()) != 0 {
					t.Error("the dead letter came back")
				}
			})
		})
	}
}

func TestAFolderIsOfOneQueue(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{})
		p := producer(t, node, pipeline.Durable(dir))
		if _, err := pipeline.NewProducer(mesh.Node(link.Config{}), receipts, pipeline.Durable(dir)); !errors.Is(err, link.FailedPrecondition) || !errors.Is(err, wal.ErrLocked) {
			t.Errorf("a second queue: %v", err)
		}
		enqueue(t, p, 3)
		// The queue is not closed before its node.
		if err := node.Close(); err != nil {
			t.Fatal(err)
		}
		other := pipeline.NewStage[order, pipeline.None]("mailer", "other")
		if _, err := pipeline.NewProducer(mesh.Node(link.Config{}), other, pipeline.Durable(dir)); !errors.Is(err, link.FailedPrecondition) {
			t.Errorf("another stage: %v", err)
		}
		p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		if p.Stats().Depth != 3 {
			t.Errorf("stats %+v", p.Stats())
		}
		file := filepath.Join(filepath.Dir(dir), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := pipeline.NewProducer(mesh.Node(link.Config{}), receipts, pipeline.Durable(file)); !errors.Is(err, link.FailedPrecondition) {
			t.Errorf("a file: %v", err)
		}
	})
}

func TestAFullDiskRefusesAndTheQueueGoesOn(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		hold := make(chan struct{})
		worker(t, mesh, func(ctx context.Context, _ order) error {
			select {
			case <-hold:
			case <-ctx.Done():
			}
			return nil
		})
		var faults pipeline.Faults
		p := producer(t, mesh.Node(link.Config{}), faults.On(dir))
		all := enqueue(t, p, 5)
		faults.Set(fmt.Errorf("disk: %w", wal.ErrNoSpace))
		if _, err := p.Enqueue(t.Context(), order{}); !errors.Is(err, link.ResourceExhausted) || !errors.Is(err, wal.ErrNoSpace) {
			t.Errorf("enqueue on a full disk: %v", err)
		}
		close(hold)
		sleep(time.Second)
		for _, f := range all {
			if f.Outcome().End != pipeline.EndOpen {
				t.Error("a task is told to be done, and that is not written")
			}
		}
		if faults.Denied() < 5 {
			t.Errorf("%d appends failed", faults.Denied())
		}
		faults.Set(nil)
		wait(t, all)
		if _, err := p.Push(t.Context(), order{}); err != nil {
			t.Errorf("push once there is room: %v", err)
		}
		if p.Err() != nil || p.Stats().Depth != 0 {
			t.Errorf("%v, %+v", p.Err(), p.Stats())
		}
	})
}

func TestAFailedDiskFreezesTheQueue(t *testing.T) {
	frozen := &wal.FrozenError{Op: "sync", File: "0000000000000000.wal", Cause: syscall.EIO}
	for _, c := range []struct {
		name string
		fail func(f *pipeline.Faults)
	}{
		{"a sync", func(f *pipeline.Faults) { f.Set(frozen); f.Freeze(frozen) }},
		{"a write of tasks", func(f *pipeline.Faults) { f.Set(frozen, pipeline.RecordTask) }},
		{"a write of ends", func(f *pipeline.Faults) { f.Set(frozen, pipeline.RecordEnd) }},
		{"a disk that became read-only", func(f *pipeline.Faults) {
			f.Set(&wal.FrozenError{Op: "write", File: "x.wal", Cause: syscall.EROFS})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t)
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var done tally
				slow := func(ctx context.Context, o order) error {
					select {
					case <-time.After(100 * time.Millisecond):
					case <-ctx.Done():
					}
					done.add(o.ID)
					return nil
				}
				worker(t, mesh, slow)
				var faults pipeline.Faults
				p := producer(t, mesh.Node(link.Config{}), faults.On(dir))
				all := enqueue(t, p, 5)
				c.fail(&faults)
				_, err := p.Enqueue(t.Context(), order{ID: "late"})
				sleep(time.Second)
				if err == nil && c.name != "a write of ends" {
					t.Error("a task was accepted by a disk that failed")
				}
				if p.Err() == nil || !errors.Is(p.Err(), link.DataLoss) || !p.Stats().Disk.Failed {
					t.Errorf("the queue is not frozen: %v", p.Err())
				}
				if _, err := p.Push(t.Context(), order{}); !errors.Is(err, link.DataLoss) {
					t.Errorf("push to a frozen queue: %v", err)
				}
				for _, f := range all {
					if _, err := f.Wait(t.Context()); !errors.Is(err, link.DataLoss) {
						t.Errorf("a task of a frozen queue: %v", err)
					}
				}
				if left, err := p.Close(); err == nil || len(left) == 0 && c.name != "a write of ends" {
					t.Errorf("closed a frozen queue: %d left, %v", len(left), err)
				}
				p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
				if left, err := p.Drain(t.Context()); err != nil || len(left) != 0 {
					t.Errorf("opened again: %d left, %v", len(left), err)
				}
				for i := range 5 {
					if done.count(fmt.Sprint(i)) == 0 {
						t.Errorf("task %d is lost", i)
					}
				}
			})
		})
	}
}

func TestDamageIsToldAndATornEndIsNot(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		p := producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		enqueue(t, p, 100)
		closeQueue(t, p)
		segments, err := filepath.Glob(filepath.Join(dir, "*.wal"))
		if err != nil || len(segments) == 0 {
			t.Fatal(segments, err)
		}
		last := segments[len(segments)-1]
		whole, err := os.ReadFile(last)
		if err != nil {
			t.Fatal(err)
		}
		write := func(b []byte) {
			if err := os.WriteFile(last, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(append(append([]byte{}, whole...), 1, 2, 3))
		p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		if n := p.Stats().Depth; n != 100 {
			t.Errorf("%d tasks with a torn end", n)
		}
		closeQueue(t, p)
		for _, at := range []int{100, len(whole) / 2} {
			flipped := append([]byte{}, whole...)
			flipped[at] ^= 4
			write(flipped)
			_, err := pipeline.NewProducer(mesh.Node(link.Config{}), receipts, pipeline.Durable(dir))
			if _, ok := errors.AsType[*wal.DamageError](err); !ok || !errors.Is(err, link.DataLoss) {
				t.Errorf("byte %d has changed: %v", at, err)
			}
		}
	})
}

func TestDiskUseIsBoundByWhatLives(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		worker(t, mesh, func(context.Context, order) error { return nil })
		p := producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir), pipeline.Capacity(200_000, 0))
		pad := string(make([]byte, 4000))
		batch := make([]order, 500)
		for i := range batch {
			batch[i].ID = pad
		}
		// The batches have 80 MB in total.
		batches := 40
		if race.Enabled {
			// A run without the race detector tests the full size.
			batches = 5
		}
		for range batches {
			all, err := p.EnqueueAll(t.Context(), batch)
			if err != nil {
				t.Fatal(err)
			}
			wait(t, all)
		}
		sleep(time.Second)
		s := p.Stats().Disk
		if s.Live > 1<<20 || s.Bytes > 2*s.Live+wal.DefaultSegmentBytes {
			t.Errorf("disk %+v", s)
		}
		t.Logf("after %d MB of tasks, all done: %+v", 2*batches, s)
	})
}

func TestAStageIsDoneWhenTheNextHasItOnDisk(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		lines := pipeline.NewStage[string, pipeline.None]("parser", "lines")
		middle := mesh.Node(link.Config{Service: "parser"})
		var faults pipeline.Faults
		out := producer(t, middle, faults.On(dir))
		pipeline.Through(middle, lines, out, func(_ context.Context, line string) (order, error) { return order{ID: line}, nil })
		mesh.Start(middle)
		in, err := pipeline.NewProducer(mesh.Node(link.Config{}), lines)
		if err != nil {
			t.Fatal(err)
		}
		faults.Set(fmt.Errorf("disk: %w", wal.ErrNoSpace), pipeline.RecordTask)
		f, err := in.Enqueue(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		sleep(500 * time.Millisecond)
		if f.Outcome().End != pipeline.EndOpen || out.Stats().Depth != 0 {
			t.Errorf("outcome %+v, and %d tasks in the next stage", f.Outcome(), out.Stats().Depth)
		}
		faults.Set(nil)
		wait(t, []*pipeline.Future[pipeline.None]{f})
		if out.Stats().Depth != 1 || f.Outcome().Attempts != 1 {
			t.Errorf("%d tasks in the next stage; %+v", out.Stats().Depth, f.Outcome())
		}
		if left := closeQueue(t, out); len(left) != 1 || !left[0].Kept {
			t.Errorf("left %+v", left)
		}
		_, _ = in.Close()
	})
}
