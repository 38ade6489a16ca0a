//go:build !race

// The test moves more than 100 MiB, which is ten times as much work under the race
// detector. The other tests run the same goroutines under it.

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
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// TestAWorkerThatSendsPartsWithoutAnEnd checks that a worker that sends parts without an end on the
// streams of many queues fills no more of the producer's memory than one member may, and that another
// worker does the queues' tasks.
func TestAWorkerThatSendsPartsWithoutAnEnd(t *testing.T) { // SEC-394
	// each is how many bytes of parts one stream may have.
	const queues, each = 48, 4 << 20
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var here, refused atomic.Int64
		hostileTo(t, mesh, 8<<10, func(ctx context.Context, st *link.Stream) error {
			part := link.Frame{Kind: frame.KindPart, Credited: true, Body: make([]byte, 4<<10)}
			sent := 0
			defer func() { here.Add(-int64(sent)) }()
			for ; sent < each; sent += len(part.Body) {
				if err := st.Send(part); err != nil {
					refused.Add(1)
					return err
				}
				here.Add(int64(len(part.Body)))
			}
			<-ctx.Done()
			return nil
		})
		client := mesh.Node(link.Config{})
		var all []*pipeline.Future[pipeline.None]
		for range queues {
			p := producer(t, client)
			all = append(all, enqueue(t, p, 1)...)
		}
		sleep(time.Minute)
		if most := int64(flow.MaxParts/2 + queues<<10); refused.Load() == 0 || here.Load() > most {
			t.Errorf("%d MiB of parts are here, want at most %d; %d streams were ended", here.Load()>>20, most>>20, refused.Load())
		}
		worker(t, mesh, func(context.Context, order) error { return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, f := range all {
			if _, err := f.Wait(ctx); err != nil && !errors.Is(err, link.Aborted) {
				t.Fatal(err)
			}
		}
	})
}
