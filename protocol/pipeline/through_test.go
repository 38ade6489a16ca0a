package pipeline_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/security"
)

var lines = pipeline.NewStage[string, pipeline.None]("parser", "lines")

// parse makes a node a worker between lines and out, and starts it.
func parse(mesh *linktest.Mesh, node *link.Node, out pipeline.Target[order]) {
	pipeline.Through(node, lines, out, func(_ context.Context, line string) (order, error) { return order{ID: line}, nil },
		pipeline.MaxRun(10*time.Second), pipeline.Concurrency(2))
	mesh.Start(node)
}

// enqueueLines puts n tasks in the first stage.
func enqueueLines(t *testing.T, mesh *linktest.Mesh, n int) []*pipeline.Future[pipeline.None] {
	t.Helper()
	in, err := pipeline.NewProducer(mesh.Node(link.Config{}), lines)
	if err != nil {
		t.Fatal(err)
	}
	var all []*pipeline.Future[pipeline.None]
	for i := range n {
		f, err := in.Enqueue(t.Context(), fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

// TestAStageThatIsFullForLongCostsNoAttempts leaves the next stage without a worker, or without room on
// its disk, for an hour.
func TestAStageThatIsFullForLongCostsNoAttempts(t *testing.T) {
	for name, onDisk := range map[string]bool{"a full queue": false, "a full disk": true} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				middle := mesh.Node(link.Config{Service: "parser"})
				var faults pipeline.Faults
				opts := []pipeline.QueueOption{pipeline.Capacity(3, 0)}
				if onDisk {
					opts = append(opts, faults.On(dir))
				}
				out := producer(t, middle, opts...)
				if onDisk {
					faults.Set(wal.ErrNoSpace)
				}
				parse(mesh, middle, out)
				all := enqueueLines(t, mesh, 20)
				sleep(race.Fewer(time.Hour, 5*time.Minute))
				var done tally
				worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil })
				faults.Set(nil)
				wait(t, all)
				for _, f := range all {
					if o := f.Outcome(); o.Attempts != 1 {
						t.Errorf("outcome %+v", o)
					}
				}
				if left, err := out.Drain(t.Context()); len(left) > 0 || err != nil || len(done.runs) != 20 {
					t.Errorf("%d left, %v, %d done", len(left), err, len(done.runs))
				}
			})
		})
	}
}

func TestAStageWhoseNextIsClosedGivesItsTasksBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		middle := mesh.Node(link.Config{Service: "parser"})
		out := producer(t, middle)
		parse(mesh, middle, out)
		closeQueue(t, out)
		all := enqueueLines(t, mesh, 4)
		sleep(3 * time.Second)
		other := mesh.Node(link.Config{Service: "parser"})
		parse(mesh, other, receipts)
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil })
		wait(t, all)
		for _, f := range all {
			if o := f.Outcome(); o.Attempts != 1 || len(o.History) == 0 || o.History[0].Counted {
				t.Errorf("outcome %+v", o)
			}
		}
	})
}

// TestAnotherProducerDoesNotSpendTheIDsOfAStage has a producer claim the name of another one's queue, and
// a task number that this queue has not used yet. The result of its task must not be taken for the result
// of the other producer's task.
func TestAnotherProducerDoesNotSpendTheIDsOfAStage(t *testing.T) { // SEC-399
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		middle := mesh.Node(link.Config{Service: "parser"})
		out := producer(t, middle)
		w := pipeline.Through(middle, lines, out, func(_ context.Context, line string) (order, error) { return order{ID: line}, nil })
		mesh.Start(middle)
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for _, who := range []string{"mallory", "shop", "shop"} {
			identity, err := security.ParseID("spiffe://mesh.test/ns/default/svc/" + who)
			if err != nil {
				t.Fatal(err)
			}
			st := pipeline.ServeAs(ctx, w, link.Peer{Identity: identity, Addr: "10.0.0.9:1"})
			hello, err := frame.Encode(frame.KindHello, frame.Hello{Queue: "the queue of shop"})
			if err == nil {
				err = st.Send(hello)
			}
			if err != nil {
				t.Fatal(err)
			}
			payload, err := link.HostOf(middle).Codec().Append(nil, &who)
			if err != nil {
				t.Fatal(err)
			}
			body := frame.Body{Payload: payload}
			rec := frame.Task{Seq: 1, Delivery: 1, Attempt: 1, Left: -1, Start: -1, Body: body.Append(nil)}
			for sent := false; ; {
				f, err := st.Recv()
				if err != nil {
					t.Fatal(err)
				}
				if f.Kind == frame.KindWindow && !sent {
					sent = true
					if err := st.Send(link.Frame{Kind: frame.KindTasks, Credited: true, Body: rec.Append(nil)}); err != nil {
						t.Fatal(err)
					}
				}
				if f.Kind == frame.KindOutcomes {
					break
				}
			}
		}
		sleep(time.Second)
		if a, b := done.count("mallory"), done.count("shop"); a != 1 || b != 1 {
			t.Errorf("what came of the task of mallory was done %d times, of that of shop %d times; want 1 each", a, b)
		}
	})
}
