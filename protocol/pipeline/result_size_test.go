package pipeline_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestAResultMayBeAsLongAsATask has workers return results of up to 4 MiB, and one that is too long.
func TestAResultMayBeAsLongAsATask(t *testing.T) {
	stage := pipeline.NewStage[int, string]("printer", "print")
	for _, durable := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
			worker := mesh.Node(link.Config{Service: "printer"})
			pipeline.Pull(worker, stage, func(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil })
			mesh.Start(worker)
			var opts []pipeline.QueueOption
			if durable {
				opts = append(opts, pipeline.Durable(filepath.Join(t.TempDir(), "queue")))
			}
			p, err := pipeline.NewProducer(mesh.Node(link.Config{}), stage, opts...)
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{0, 64 << 10, 1 << 20, 4<<20 - 100} {
				if got, err := p.Push(t.Context(), size); err != nil || len(got) != size {
					t.Errorf("durable %v, a result of %d bytes: got %d, %v", durable, size, len(got), err)
				}
			}
			if _, err := p.Push(t.Context(), 4<<20); err == nil || !strings.Contains(err.Error(), "the limit is 4194304") {
				t.Errorf("durable %v, a result that is too long: %v, want an error with both numbers", durable, err)
			}
			if _, err := p.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
