package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestTasksLongerThanTheCreditArrive pushes tasks that are longer than the credit, and short ones
// between them.
func TestTasksLongerThanTheCreditArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "mailer"})
		pipeline.Pull(node, totals, func(_ context.Context, o order) (int64, error) { return int64(len(o.ID)), nil })
		mesh.Start(node)
		client := mesh.Node(link.Config{})
		for _, size := range []int{1, 100 << 10, 3 << 20, 2, 4<<20 - 100, 1 << 20, 3} {
			got, err := pipeline.Push(t.Context(), client, totals, order{ID: string(make([]byte, size))})
			if err != nil || got != int64(size) {
				t.Fatalf("a task of %d bytes: %d, %v", size, got, err)
			}
		}
		if _, err := pipeline.Push(t.Context(), client, totals, order{ID: string(make([]byte, 4<<20))}); !errors.Is(err, link.ResourceExhausted) {
			t.Errorf("a task that is too long: %v", err)
		}
	})
}

// TestANodePushesToManyStagesOfOneWorker has a node push to more stages of one worker than its
// connection could give 1 MiB of credit each.
func TestANodePushesToManyStagesOfOneWorker(t *testing.T) {
	pushToMany(t, link.Limits{}, link.Limits{})
}

// TestStreamsBeginWithTheCreditThatIsThere checks that streams work with the available credit if a
// worker or a producer has little.
func TestStreamsBeginWithTheCreditThatIsThere(t *testing.T) {
	little := link.Limits{CreditBytes: 6 << 20}
	t.Run("at the worker", func(t *testing.T) { pushToMany(t, little, link.Limits{}) })
	t.Run("at the producer", func(t *testing.T) { pushToMany(t, link.Limits{}, little) })
}

func pushToMany(t *testing.T, worker, producer link.Limits) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "mailer", Limits: worker})
		n := race.Fewer(100, 40)
		var stages []pipeline.Stage[order, pipeline.None]
		var done atomic.Int64
		for i := range n {
			s := pipeline.NewStage[order, pipeline.None]("mailer", fmt.Sprint("stage-", i))
			pipeline.Pull(node, s, pipeline.NoResult(func(context.Context, order) error { done.Add(1); return nil }), pipeline.Concurrency(1))
			stages = append(stages, s)
		}
		mesh.Start(node)
		client := mesh.Node(link.Config{Limits: producer})
		// With too little credit the tasks would never arrive.
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		var futures []*pipeline.Future[pipeline.None]
		for _, s := range stages {
			f, err := pipeline.Enqueue(ctx, client, s, order{ID: string(make([]byte, 200<<10))})
			if err != nil {
				t.Fatal(err)
			}
			futures = append(futures, f)
		}
		for _, f := range futures {
			if _, err := f.Wait(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if got := done.Load(); got != int64(n) {
			t.Errorf("%d tasks were done, want %d", got, n)
		}
	})
}
