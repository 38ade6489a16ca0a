package pipeline_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestProducersWhoseBacklogStaysTheSameAreServed checks that a producer reports an unchanged
// backlog again. With more producers than slots, a worker gives windows to those that have
// reported a backlog, and subtracts each task that arrives from it.
func TestProducersWhoseBacklogStaysTheSameAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		worker(t, mesh, func(context.Context, order) error { <-time.After(10 * time.Millisecond); return nil }, pipeline.Concurrency(1))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		var pushes sync.WaitGroup
		for range 10 {
			client := mesh.Node(link.Config{})
			// Each pushes its next task when the one before is done, so that the backlog stays the same.
			for range 3 {
				pushes.Go(func() {
					for i := range 50 {
						if _, err := pipeline.Push(ctx, client, receipts, order{ID: "x"}); err != nil {
							t.Errorf("push %d: %v", i, err)
							return
						}
					}
				})
			}
		}
		pushes.Wait()
	})
}

// TestTasksThatWaitLongForTheirTurnAreDone checks that a worker gives back tasks that cannot
// begin soon, as often as necessary, and that this does not use up their attempts.
func TestTasksThatWaitLongForTheirTurnAreDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		worker(t, mesh, func(context.Context, order) error { <-time.After(10 * time.Second); return nil }, pipeline.Concurrency(1))
		var futures []*pipeline.Future[pipeline.None]
		for range race.Fewer(8, 4) {
			client := mesh.Node(link.Config{})
			for range 3 {
				f, err := pipeline.Enqueue(t.Context(), client, receipts, order{ID: "x"})
				if err != nil {
					t.Fatal(err)
				}
				futures = append(futures, f)
			}
		}
		for _, f := range futures {
			if _, err := f.Wait(t.Context()); err != nil {
				t.Errorf("%v, %+v", err, f.Outcome().End)
			}
		}
	})
}
