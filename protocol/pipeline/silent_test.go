package pipeline_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/logtest"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// readsNothing returns the handler of a worker that grants a window and sends PINGs, but reads nothing.
func readsNothing(window uint64) func(ctx context.Context, st *link.Stream) error {
	return func(ctx context.Context, st *link.Stream) error {
		if err := grant(st, window); err != nil {
			return err
		}
		for ctx.Err() == nil {
			if err := st.Send(link.Frame{Kind: frame.KindPing, Body: []byte{1}}); err != nil {
				return err
			}
			sleep(time.Second)
		}
		return nil
	}
}

// TestAWorkerThatReadsNothingIsSaidOnce checks that a worker that reads nothing is logged once, even if
// it is the only one.
func TestAWorkerThatReadsNothingIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		hostileTo(t, mesh, little, readsNothing(500))
		log := &logtest.Log{}
		p := producer(t, mesh.Node(link.Config{Logger: log.Logger()}))
		for range 500 {
			if _, err := p.Enqueue(t.Context(), orderOf(100)); err != nil {
				t.Fatal(err)
			}
		}
		sleep(3 * queue.DefaultLease)
		if n := log.Count("workers do not take a queue's tasks"); n != 1 || !log.Has("has read nothing") {
			t.Errorf("it is said %d times, want once with the reason:\n%s", n, log)
		}
	})
}

// TestAWorkerThatReadsNothingKeepsNoTask checks that a worker that grants a large window and sends PINGs
// but gives no credit keeps no task that was not sent to it, while more tasks wait than others take.
func TestAWorkerThatReadsNothingKeepsNoTask(t *testing.T) { // SEC-396
	const window, backlog = 500, 200
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		hostileTo(t, mesh, little, readsNothing(window))
		log := &logtest.Log{}
		p := producer(t, mesh.Node(link.Config{Logger: log.Logger()}))
		var first []*pipeline.Future[pipeline.None]
		for range window + backlog {
			// All of the tasks together need more credit than the worker gives.
			f, err := p.Enqueue(t.Context(), orderOf(100))
			if err != nil {
				t.Fatal(err)
			}
			first = append(first, f)
		}
		sleep(time.Second)
		if s := p.Stats(); s.InFlight == 0 || s.Waiting <= backlog {
			t.Fatalf("%d tasks are with it, %d wait: want all that it gave no credit for", s.InFlight, s.Waiting)
		}
		worker(t, mesh, func(context.Context, order) error { sleep(20 * time.Millisecond); return nil }, pipeline.Concurrency(1))
		for range 2 * queue.DefaultLease / time.Second {
			enqueue(t, p, max(backlog-p.Stats().Waiting, 0))
			sleep(time.Second)
		}
		if n := log.Count("workers do not take a queue's tasks"); n != 1 || !log.Has("has read nothing") {
			t.Errorf("it is said %d times, want once with the reason:\n%s", n, log)
		}
		left := slices.DeleteFunc(first, func(f *pipeline.Future[pipeline.None]) bool { return f.Outcome().End == pipeline.EndAcked })
		if len(left) > 0 {
			t.Errorf("%d of the first %d tasks are not done, and %d tasks are: the first of them is %+v", len(left), window+backlog, p.Stats().Ended.Acked, left[0].Outcome())
		}
	})
}
