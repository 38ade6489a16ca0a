package pipeline_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

func TestAPushThatGivesUpLeavesTheOthersTheirTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var runs atomic.Int64
		worker(t, mesh, func(ctx context.Context, _ order) error {
			runs.Add(1)
			select {
			case <-time.After(10 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		p := producer(t, mesh.Node(link.Config{}))
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first := make(chan error, 1)
		go func() {
			_, err := p.Push(hasty, order{ID: "a"}, pipeline.ID("a"))
			first <- err
		}()
		synctest.Wait()
		patient, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.Push(patient, order{ID: "a"}, pipeline.ID("a")); err != nil {
			t.Errorf("the push that waits: %v", err)
		}
		if err := <-first; !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("the push that gave up: %v", err)
		}
		if runs.Load() != 1 {
			t.Errorf("it ran %d times", runs.Load())
		}
		f := enqueue(t, p, 1, pipeline.ID("b"))[0]
		hasty, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Push(hasty, order{ID: "b"}, pipeline.ID("b")); !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("the push that gave up: %v", err)
		}
		wait(t, []*pipeline.Future[pipeline.None]{f})
	})
}

func TestATaskThatWasNeverDoneCanBePushedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		p := producer(t, mesh.Node(link.Config{}))
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Push(hasty, order{ID: "a"}, pipeline.ID("a")); !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("a push without workers: %v", err)
		}
		if _, err := enqueue(t, p, 1, pipeline.ID("b"), pipeline.TTL(time.Second))[0].Wait(t.Context()); !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("a task that expired: %v", err)
		}
		var done tally
		worker(t, mesh, func(ctx context.Context, o order) error {
			if o.ID == "slow" {
				select {
				case <-time.After(5 * time.Second):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			done.add(o.ID)
			return nil
		})
		for _, id := range []string{"a", "b"} {
			if _, err := p.Push(t.Context(), order{ID: id}, pipeline.ID(id)); err != nil || done.count(id) != 1 {
				t.Errorf("the second push of %s: %v, done %d times", id, err, done.count(id))
			}
		}
		// A task whose handler is being canceled is pushed again.
		hasty, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Push(hasty, order{ID: "slow"}, pipeline.ID("slow")); !errors.Is(err, link.DeadlineExceeded) {
			t.Errorf("a push to a slow handler: %v", err)
		}
		if _, err := p.Push(t.Context(), order{ID: "slow"}, pipeline.ID("slow")); err != nil || done.count("slow") != 1 {
			t.Errorf("the second push: %v, done %d times", err, done.count("slow"))
		}
	})
}

func TestARedrivenTaskKeepsItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var works atomic.Bool
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error {
			if !works.Load() {
				return pipeline.Reject(errors.New("no"))
			}
			sleep(time.Second)
			done.add(o.ID)
			return nil
		})
		p := producer(t, mesh.Node(link.Config{}))
		push := func() error { _, err := p.Push(t.Context(), order{ID: "a"}, pipeline.ID("a")); return err }
		if err := push(); !errors.Is(err, link.Aborted) {
			t.Errorf("a task that is rejected: %v", err)
		}
		works.Store(true)
		if err := push(); !errors.Is(err, link.Aborted) {
			t.Errorf("the same again: %v", err)
		}
		if n, err := p.Redrive(t.Context(), nil); n != 1 || err != nil {
			t.Errorf("redriven %d, %v", n, err)
		}
		if err := push(); err != nil || done.count("a") != 1 {
			t.Errorf("the same while it is redriven: %v, done %d times", err, done.count("a"))
		}
	})
}
