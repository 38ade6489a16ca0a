//go:build !race

// The test moves more than 100 MiB, which is ten times as much work under the race
// detector. The other tests run the same goroutines under it.

package pipeline_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
)

// TestIdleStreamsKeepNoLargeBuffers checks that streams free the large buffers of tasks and
// results that have passed.
func TestIdleStreamsKeepNoLargeBuffers(t *testing.T) {
	const queues, size = 12, 4<<20 - 1<<10
	// These may stay: the results that the worker caches in case a producer comes back, and the
	// pools of the transport.
	const most = 16<<20 + 24<<20
	stage := pipeline.NewStage[string, string]("printer", "print")
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		worker := mesh.Node(link.Config{Service: "printer"})
		pipeline.Pull(worker, stage, func(_ context.Context, s string) (string, error) { return s, nil })
		mesh.Start(worker)
		node := mesh.Node(link.Config{})
		push := func(n int) (all []*pipeline.Producer[string, string]) {
			for range queues {
				p, err := pipeline.NewProducer(node, stage)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := p.Push(t.Context(), strings.Repeat("x", n)); err != nil || len(got) != n {
					t.Fatalf("%d, %v", len(got), err)
				}
				all = append(all, p)
			}
			return all
		}
		before := heap()
		small := push(1)
		large := push(size)
		if grown := int64(heap()) - int64(before); grown > most {
			t.Errorf("%d idle streams keep %d MiB, want at most %d", queues, grown>>20, most>>20)
		}
		runtime.KeepAlive(small)
		runtime.KeepAlive(large)
	})
}

// heap returns how many bytes of the heap are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	// What a sync.Pool holds survives one collection.
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
