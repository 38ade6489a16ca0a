package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// result starts f and returns a function that waits for it. That function fails the test if f does
// not return within a minute, or returns another error than Unavailable.
func result(t *testing.T, what string, f func() error) func() {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	synctest.Wait()
	return func() {
		t.Helper()
		select {
		case err := <-done:
			if !errors.Is(err, link.Unavailable) {
				t.Errorf("%s: %v, want unavailable", what, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: it waits without end", what)
		}
	}
}

func TestNobodyWaitsForANodeThatIsClosed(t *testing.T) {
	for name, folders := range map[string][]string{"memory": {"", ""}, "durable": {folder(t), folder(t)}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				background := context.WithoutCancel(t.Context())
				for i, draining := range []bool{false, true} {
					node := mesh.Node(link.Config{})
					p := producer(t, node, pipeline.Capacity(1, 0), pipeline.Durable(folders[i]))
					future := result(t, "a future", func() error {
						f, err := p.TryPush(background, order{})
						if err != nil {
							return err
						}
						_, err = f.Wait(background)
						return err
					})
					last := result(t, "a push that waits for room", func() error { _, err := p.Push(background, order{}); return err })
					if draining {
						last = result(t, "a drain", func() error {
							left, err := p.Drain(background)
							if err == nil && len(left) == 1 {
								err = link.Unavailable
							}
							return err
						})
					}
					if err := node.Close(); err != nil {
						t.Fatal(err)
					}
					future()
					last()
				}
			})
		})
	}
}

func TestAQueueOnAFullDiskCanBeClosed(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var faults pipeline.Faults
		worker(t, mesh, func(context.Context, order) error { return nil })
		p := producer(t, mesh.Node(link.Config{}), faults.On(dir))
		faults.Set(wal.ErrNoSpace, pipeline.RecordEnd)
		f := enqueue(t, p, 1)[0]
		future := result(t, "a task that is done and not written as such", func() error { _, err := f.Wait(context.WithoutCancel(t.Context())); return err })
		sleep(time.Second)
		left, err := p.Close()
		if err != nil || len(left) != 1 || left[0].ID != f.ID() || !left[0].Kept || !left[0].Begun || len(left[0].Payload) == 0 {
			t.Errorf("left %+v, %v", left, err)
		}
		future()
	})
}

func TestADurableQueueTellsWhatHasBegun(t *testing.T) {
	dir := folder(t)
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		worker(t, mesh, func(ctx context.Context, _ order) error { <-ctx.Done(); return nil }, pipeline.Concurrency(1))
		p := producer(t, mesh.Node(link.Config{}), pipeline.Durable(dir))
		enqueue(t, p, 50)
		sleep(time.Second)
		left, err := p.Close()
		if err != nil || len(left) != 50 || !left[0].Begun || left[49].Begun {
			t.Errorf("%d left, %v; the first has begun: %v, the last: %v", len(left), err, left[0].Begun, left[49].Begun)
		}
	})
}
