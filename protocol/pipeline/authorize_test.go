package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestARuleThatPanicsRefuses checks that a rule that panics lets nobody in, here for pushes of the node to its own stage, which
// pass no stream, and that it does not end the process.
func TestARuleThatPanicsRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := worker(t, mesh, func(context.Context, order) error { return nil })
		pipeline.Authorize(node, func(pipeline.Access) error { panic("boom") }) //nolint:forbidigo // what is tested
		p := producer(t, node)
		if _, err := p.Enqueue(t.Context(), order{ID: "o"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := p.Stats(); s.Ended.Acked != 0 {
			t.Errorf("a task was done: %+v", s)
		}
		if _, err := pipeline.QueryStats(t.Context(), mesh.Node(link.Config{}), "mailer"); !errors.Is(err, link.PermissionDenied) {
			t.Errorf("the stats: %v, want permission denied", err)
		}
	})
}

// TestARuleThatIsNilIsRefused checks that a missing rule is said at once: it would let everybody in, or nobody.
func TestARuleThatIsNilIsRefused(t *testing.T) {
	node := linktest.NewMesh(t).Node(link.Config{Service: "mailer"})
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "pipeline.Authorize") {
			t.Errorf("it panicked with %v", err)
		}
	}()
	pipeline.Authorize(node, nil)
}
