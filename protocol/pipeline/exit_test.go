package pipeline_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestAHandlerThatEndsItsGoroutine checks that runtime.Goexit in a handler is a failed attempt, and that its slot is free
// again for the next one.
func TestAHandlerThatEndsItsGoroutine(t *testing.T) {
	exit := func(task *pipeline.Task) {
		if task.Attempt < 3 {
			runtime.Goexit()
		}
	}
	stage := pipeline.NewStage[string, int]("orders", "exits")
	for name, pull := range map[string]func(node *link.Node){
		"alone": func(node *link.Node) {
			pipeline.Pull(node, stage, func(ctx context.Context, _ string) (int, error) {
				task := pipeline.TaskOf(ctx)
				exit(task)
				return task.Attempt, nil
			}, pipeline.Concurrency(1))
		},
		"in a batch": func(node *link.Node) {
			pipeline.PullBatch(node, stage, func(_ context.Context, batch []*pipeline.Item[string, int]) error {
				for _, item := range batch {
					exit(item.Task)
					item.Ack(item.Task.Attempt)
				}
				return nil
			}, pipeline.Concurrency(1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				node := mesh.Node(link.Config{Service: "orders"})
				pull(node)
				mesh.Start(node)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				if got, err := pipeline.Push(ctx, mesh.Node(link.Config{}), stage, "task"); err != nil || got != 3 {
					t.Errorf("it was done in attempt %d, %v, want 3", got, err)
				}
			})
		})
	}
}
