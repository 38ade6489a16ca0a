package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestATaskThatIsOnDiskBeforeTheQueueLooksIsAccepted checks that a task is accepted if the log, which
// syncs on its own, has synced it before the queue has noted that it waits for the sync.
func TestATaskThatIsOnDiskBeforeTheQueueLooksIsAccepted(t *testing.T) {
	for name, opts := range syncs() {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var faults pipeline.Faults
				p := producer(t, mesh.Node(link.Config{}), append(opts, faults.On(dir))...)
				faults.Hasty(func() error { return nil })
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				f, err := p.Enqueue(ctx, order{})
				if err != nil {
					t.Fatal(err)
				}
				worker(t, mesh, func(context.Context, order) error { return nil })
				wait(t, []*pipeline.Future[pipeline.None]{f})
			})
		})
	}
}

// TestAPushMeetsAFreezeBeforeTheQueueLooks checks that a push does not wait for a sync that never
// comes if the log freezes before the queue has noted that it waits.
func TestAPushMeetsAFreezeBeforeTheQueueLooks(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var faults pipeline.Faults
		p := producer(t, mesh.Node(link.Config{}), faults.On(dir))
		faults.Hasty(func() error {
			return &wal.FrozenError{Op: "sync", File: "0000000000000000.wal", Cause: syscall.EIO}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.Enqueue(ctx, order{}); !errors.Is(err, pipeline.ErrMayRun) || !errors.Is(err, link.DataLoss) {
			t.Errorf("%v, want that it may run, and data loss", err)
		}
		left, err := p.Close()
		if err == nil || len(left) != 1 || !left[0].MayBe || left[0].Kept {
			t.Errorf("left %+v, %v", left, err)
		}
	})
}

// TestADrainEndsWhenTheLastTaskIsRefused checks that a drain ends when the disk refuses the last task.
// A refused task is withdrawn from the queue, and does not end in it.
func TestADrainEndsWhenTheLastTaskIsRefused(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var faults pipeline.Faults
		p := producer(t, mesh.Node(link.Config{}), faults.On(dir))
		resume := faults.Stall()
		refused := make(chan error, 1)
		go func() {
			_, err := p.Enqueue(t.Context(), order{})
			refused <- err
		}()
		synctest.Wait()
		drained := make(chan []pipeline.Unfinished, 1)
		go func() {
			left, err := p.Drain(t.Context())
			if err != nil {
				t.Error(err)
			}
			drained <- left
		}()
		synctest.Wait()
		faults.Set(fmt.Errorf("disk: %w", wal.ErrNoSpace))
		resume()
		if err := <-refused; !errors.Is(err, wal.ErrNoSpace) {
			t.Errorf("the push: %v", err)
		}
		select {
		case left := <-drained:
			if len(left) != 0 {
				t.Errorf("left %+v", left)
			}
		case <-time.After(time.Minute):
			t.Error("the drain goes on, and the queue is empty")
			_, _ = p.Close()
		}
	})
}

// TestNothingIsSaidToBeKeptThatWasNotWritten pushes until the very end of a queue, and expects that
// what the queue reports as kept on disk is there when it is opened again.
func TestNothingIsSaidToBeKeptThatWasNotWritten(t *testing.T) {
	dir := folder(t)
	mesh := linktest.NewMesh(t)
	node := mesh.Node(link.Config{})
	p := producer(t, node, pipeline.Durable(dir))
	accepted := len(enqueue(t, p, 3))
	// The writer stops, but the queue does not finish before release is called.
	release := pipeline.HoldFinish(node)
	p.Halt()
	over := make(chan error, 1)
	more := 0
	go func() {
		for {
			if _, err := p.Enqueue(t.Context(), order{ID: "late"}); err != nil {
				over <- err
				return
			}
			more++
		}
	}()
	var err error
	select {
	case err = <-over:
		release()
	case <-time.After(10 * time.Second):
		// A push waits for a disk that nobody writes to.
		release()
		err = <-over
	}
	accepted += more
	if !errors.Is(err, link.Unavailable) || strings.Contains(err.Error(), "goes on when it is opened again") {
		t.Errorf("the push that was refused: %v", err)
	}
	left, err := p.Close()
	if err != nil {
		t.Error(err)
	}
	kept := 0
	for _, u := range left {
		if u.Kept {
			kept++
		}
	}
	again := producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
	if n := again.Stats().Depth; n != kept || n != accepted {
		t.Errorf("%d tasks were accepted, %d are said to be kept, %d are there", accepted, kept, n)
	}
}

// TestATaskThatMeetsAFreezeBeforeItIsWrittenIsNotKept has the disk fail after the queue has checked
// that it works and before the task is handed to it, and expects that the task is not kept.
func TestATaskThatMeetsAFreezeBeforeItIsWrittenIsNotKept(t *testing.T) {
	dir := folder(t)
	frozen := &wal.FrozenError{Op: "sync", File: "0000000000000000.wal", Cause: syscall.EIO}
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{})
		closeQueue(t, producer(t, node, pipeline.Durable(dir)))
		var faults pipeline.Faults
		faults.Set(fmt.Errorf("disk: %w", wal.ErrNoSpace), pipeline.RecordMeta)
		p := producer(t, node, faults.On(dir))
		faults.Set(frozen, pipeline.RecordTask)
		// The numbers of tasks are written and synced before the first task.
		release := faults.HoldSync()
		refused := make(chan error, 1)
		go func() {
			_, err := p.Enqueue(t.Context(), order{})
			refused <- err
		}()
		synctest.Wait()
		faults.Freeze(frozen)
		if err := <-refused; !errors.Is(err, link.DataLoss) || errors.Is(err, pipeline.ErrMayRun) {
			t.Errorf("the push: %v", err)
		}
		release()
		if left, err := p.Close(); err == nil || len(left) != 0 {
			t.Errorf("left %+v, %v; nothing was written", left, err)
		}
		if n := producer(t, node, pipeline.Durable(dir)).Stats().Depth; n != 0 {
			t.Errorf("%d tasks are there when it is opened again", n)
		}
	})
}
