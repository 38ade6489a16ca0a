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

// TestProducersWhoseBacklogStaysTheSameAreServed: with more producers than slots a worker
// gives windows to those who have said that they have tasks. It takes one off what it was
// told for each task that comes, so a backlog that has not changed has to be told again.
func TestProducersWhoseBacklogStaysTheSameAreServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		worker(t, mesh, func(context.Context, order) error { <-time.After(10 * time.Millisecond); return nil }, pipeline.Slots(1))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		var pushes sync.WaitGroup
		for range 10 {
			client := mesh.Node(link.Config{})
			for range 3 { // each pushes the next when the one before is done, so that as many always wait
				pushes.Go(func() {
					for i := range 50 {
						if err := pipeline.Push(ctx, client, receipts, order{ID: "x"}); err != nil {
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

// TestTasksThatWaitLongForTheirTurnAreDone: a worker gives back what could not begin soon,
// as often as it takes; the task does not pay for that.
func TestTasksThatWaitLongForTheirTurnAreDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		worker(t, mesh, func(context.Context, order) error { <-time.After(10 * time.Second); return nil }, pipeline.Slots(1))
		var futures []*pipeline.Future
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
			if err := f.Wait(t.Context()); err != nil {
				t.Errorf("%v, %+v", err, f.Outcome().End)
			}
		}
	})
}
