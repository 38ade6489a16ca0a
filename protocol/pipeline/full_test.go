package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestPushesOnAFullDiskFailAtOnce checks that pushes fail at once even while the disk has no room to
// record how tasks ended.
func TestPushesOnAFullDiskFailAtOnce(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var faults pipeline.Faults
		p := producer(t, mesh.Node(link.Config{}), faults.On(dir))
		all := enqueue(t, p, 3)
		faults.Set(fmt.Errorf("disk: %w", wal.ErrNoSpace))
		worker(t, mesh, func(context.Context, order) error { return nil })
		for range 3 {
			sleep(time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			began := time.Now()
			_, err := p.Enqueue(ctx, order{})
			cancel()
			if !errors.Is(err, link.ResourceExhausted) || !errors.Is(err, wal.ErrNoSpace) || time.Since(began) > time.Second {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		}
		faults.Set(nil)
		wait(t, all)
		wait(t, enqueue(t, p, 1))
	})
}

// TestAQueueIsOpenedAndDrainedOnAFullDisk opens and drains a queue on a disk that has room only for
// the ends of tasks, which the reserve of the log gives.
func TestAQueueIsOpenedAndDrainedOnAFullDisk(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		p := producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		enqueue(t, p, 20)
		closeQueue(t, p)
		var faults pipeline.Faults
		faults.Set(fmt.Errorf("disk: %w", wal.ErrNoSpace), pipeline.RecordMeta, pipeline.RecordWorker, pipeline.RecordTask)
		p = producer(t, mesh.Node(link.Config{}), faults.On(dir))
		if _, err := p.Enqueue(t.Context(), order{}); !errors.Is(err, wal.ErrNoSpace) {
			t.Errorf("a push: %v", err)
		}
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil })
		if left, err := p.Drain(t.Context()); len(left) != 0 || err != nil {
			t.Errorf("%d left, %v", len(left), err)
		}
		p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		if s := p.Stats(); s.Depth != 0 || done.count("19") != 1 {
			t.Errorf("opened again: %+v", s)
		}
	})
}

// TestPushesThatMeetAFailedSyncSayThatTheyMayRun checks the errors of pushes whose tasks may be on disk
// after a failed sync, and the outcome of a task that was accepted before.
func TestPushesThatMeetAFailedSyncSayThatTheyMayRun(t *testing.T) {
	dir := folder(t)
	frozen := &wal.FrozenError{Op: "sync", File: "0000000000000000.wal", Cause: syscall.EIO}
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var faults pipeline.Faults
		p := producer(t, mesh.Node(link.Config{}), faults.On(dir))
		accepted := enqueue(t, p, 1)[0]
		faults.Hold()
		failed := make(chan error, 1)
		go func() {
			_, err := p.Enqueue(t.Context(), order{ID: "late"})
			failed <- err
		}()
		// The task is written then, but not synced as far as the queue knows.
		sleep(time.Second)
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Enqueue(hasty, order{ID: "hasty"}); !errors.Is(err, pipeline.ErrMayRun) || !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("a push that did not wait for the disk: %v", err)
		}
		faults.Freeze(frozen)
		if err := <-failed; !errors.Is(err, pipeline.ErrMayRun) || !errors.Is(err, link.DataLoss) {
			t.Errorf("a push that met a failed sync: %v", err)
		}
		if o := accepted.Outcome(); o.End != pipeline.EndUndecided || o.End.String() != "undecided" || o.Cause == "" {
			t.Errorf("one that was accepted: %+v", o)
		}
		left, err := p.Close()
		if err == nil || len(left) != 3 || !left[0].Kept || left[0].MayBe || left[1].Kept || !left[1].MayBe || !left[2].MayBe {
			t.Errorf("left %+v, %v", left, err)
		}
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil })
		p = producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		if left, err := p.Drain(t.Context()); len(left) != 0 || err != nil || done.count("late") != 1 {
			t.Errorf("%d left, %v; the push that failed was done %d times, and was on the disk", len(left), err, done.count("late"))
		}
	})
}

// TestRejoiningIsSpread checks that the backoff has jitter, so that queues that lost a worker at the
// same time do not reconnect at the same time.
func TestRejoiningIsSpread(t *testing.T) {
	for failures := 1; failures < 40; failures++ {
		most := min(50*time.Millisecond<<min(failures-1, 8), 5*time.Second)
		seen := map[time.Duration]bool{}
		for range 20 {
			d := pipeline.RejoinPause(failures)
			if seen[d] = true; d < most/2 || d > most {
				t.Errorf("after %d failures it waits %v, want %v to %v", failures, d, most/2, most)
			}
		}
		if len(seen) < 2 {
			t.Errorf("after %d failures it always waits %v", failures, pipeline.RejoinPause(failures))
		}
	}
}

// TestAWorkerThatWasMetOnAFullDiskIsWrittenDownLater checks that a worker is recorded once there is
// room. A queue that is opened after a crash must know which workers to ask what they run.
func TestAWorkerThatWasMetOnAFullDiskIsWrittenDownLater(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var faults pipeline.Faults
		p := producer(t, mesh.Node(link.Config{}), faults.On(dir))
		all := enqueue(t, p, 3)
		faults.Set(fmt.Errorf("disk: %w", wal.ErrNoSpace), pipeline.RecordWorker)
		worker(t, mesh, func(context.Context, order) error { return nil })
		wait(t, all)
		if n := faults.Written(pipeline.RecordWorker); n != 0 {
			t.Fatalf("%d workers were written on a full disk", n)
		}
		faults.Set(nil)
		for range 2 {
			wait(t, enqueue(t, p, 1))
			if n := faults.Written(pipeline.RecordWorker); n != 1 {
				t.Errorf("%d workers are written, want 1", n)
			}
		}
	})
}
