package pipeline_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// later is a kind of frame that only a later version knows.
const later uint8 = 0x6f

// between sends a frame in two parts, with a frame of a later version between them.
func between(st *link.Stream, kind uint8, body []byte) error {
	half := len(body) / 2
	for _, f := range []link.Frame{
		{Kind: frame.KindPart, Credited: true, Body: body[:half]},
		{Kind: later, Credited: true, Body: []byte("news")},
		{Kind: kind, Credited: true, Body: body[half:]},
	} {
		if err := st.Send(f); err != nil {
			return err
		}
	}
	return nil
}

// TestFramesOfALaterVersionComeBetweenParts checks that a frame of a later version may come between
// the parts of a frame, and does not end them.
func TestFramesOfALaterVersionComeBetweenParts(t *testing.T) {
	t.Run("to a worker", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			worker(t, mesh, func(context.Context, order) error { return nil })
			st := greet(t, mesh.Node(link.Config{}), "q")
			frames := listen(st)
			if err := between(st, frame.KindTasks, tasks(1).Body); err != nil {
				t.Fatal(err)
			}
			sleep(time.Second)
			if kinds, _ := got(frames); !slices.Contains(kinds, frame.KindOutcomes) {
				t.Errorf("frames %#x: the task is not done", kinds)
			}
		})
	})
	t.Run("to a producer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			hostileTo(t, mesh, 1<<20, func(_ context.Context, st *link.Stream) error {
				if err := grant(st, 1); err != nil {
					return err
				}
				for {
					f, err := st.Recv()
					if err != nil {
						return err
					}
					if f.Kind != frame.KindTasks {
						continue
					}
					var rec frame.Task
					if _, err := rec.Cut(f.Body); err != nil {
						return err
					}
					o := frame.Outcome{Verb: frame.Ack, Seq: rec.Seq, Delivery: rec.Delivery}
					if err := between(st, frame.KindOutcomes, o.Append(nil)); err != nil {
						return err
					}
				}
			})
			f := enqueue(t, producer(t, mesh.Node(link.Config{})), 1)[0]
			wait(t, []*pipeline.Future[pipeline.None]{f})
			if n := f.Outcome().Attempts; n != 1 {
				t.Errorf("%d attempts, want one", n)
			}
		})
	})
}
