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

// TestALongResultDoesNotEndLeases checks that, while a long result goes to a producer with little
// credit, the worker keeps reporting that it still has the task and the others.
func TestALongResultDoesNotEndLeases(t *testing.T) {
	const lease = 30 * time.Second
	echo := pipeline.NewStage[order, order]("mailer", "echo")
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		node := mesh.Node(link.Config{Service: "mailer"})
		pipeline.Pull(node, echo, func(ctx context.Context, o order) (order, error) {
			if o.ID == "" {
				return orderOf(1 << 20), nil
			}
			<-ctx.Done()
			return o, ctx.Err()
		}, pipeline.Concurrency(2))
		mesh.Start(node)
		client := mesh.Node(link.Config{})
		st, err := link.HostOf(client).Open(t.Context(), echo.Route(), link.StreamCredit(64, little))
		if err != nil {
			t.Fatal(err)
		}
		hello, err := frame.Encode(frame.KindHello, frame.Hello{Queue: "q"})
		if err == nil {
			err = st.Send(hello)
		}
		if err != nil {
			t.Fatal(err)
		}
		began, heard, parts, alive := time.Now(), time.Now(), 0, 0
		var window, result bool
		err = slowly(st, time.Second, func(f link.Frame) bool {
			switch f.Kind {
			case frame.KindWindow:
				if !window {
					err = st.Send(link.Frame{Kind: frame.KindTasks, Credited: true, Body: twoTasks(t, client)})
					began, heard = time.Now(), time.Now()
				}
				window = true
			case frame.KindPart:
				parts++
			case frame.KindAlive:
				seqs, bad := frame.ParseList(nil, f.Body)
				if slices.Sort(seqs); bad != nil || !slices.Equal(seqs, []uint64{1, 2}) {
					t.Errorf("alive are %v, %v", seqs, bad)
				}
				alive++
				heard = time.Now()
			case frame.KindOutcomes:
				result = true
			}
			if d := time.Since(heard); d >= lease {
				t.Errorf("nothing was said of the tasks for %v, after %d parts", d, parts)
				return false
			}
			return !result
		})
		if err != nil || !result || alive < 5 || time.Since(began) < 4*lease {
			t.Errorf("%v: result %v, tasks were alive %d times in %v", err, result, alive, time.Since(began))
		}
		st.Close()
	})
}

// twoTasks returns the body of a frame of two tasks, numbers 1 and 2. Only the second order has an ID.
func twoTasks(t *testing.T, node *link.Node) []byte {
	t.Helper()
	var out []byte
	for i, id := range []string{"", "waits"} {
		payload, err := link.HostOf(node).Codec().Append(nil, &order{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		body := frame.Body{Payload: payload}
		rec := frame.Task{Seq: uint64(i) + 1, Delivery: 1, Attempt: 1, Left: -1, Start: -1, Body: body.Append(nil)}
		out = rec.Append(out)
	}
	return out
}

// TestPartsAreASignOfLife checks that a peer that sends nothing but parts for long is waited for as
// long after its last part as after any other frame.
func TestPartsAreASignOfLife(t *testing.T) {
	part := link.Frame{Kind: frame.KindPart, Credited: true, Body: []byte{1}}
	speak := func(st *link.Stream) error {
		for range 20 {
			sleep(time.Second)
			if err := st.Send(part); err != nil {
				return err
			}
		}
		return nil
	}
	// A peer is given up 5 s after its last frame.
	const gone, patience = time.Second, 10 * time.Second
	t.Run("of a worker", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			spoke := make(chan struct{})
			w := mesh.Node(link.Config{Service: "mailer", Limits: hasty()})
			link.HostOf(w).Handle(receipts.Route(), func(_ context.Context, st *link.Stream) error {
				if err := welcome(st, little); err != nil {
					return err
				}
				if err := grant(st, 1); err != nil {
					return err
				}
				if err := speak(st); err != nil {
					return err
				}
				close(spoke)
				return drained(st)
			})
			mesh.Start(w)
			client := mesh.Node(link.Config{Limits: hasty()})
			p := producer(t, client)
			enqueue(t, p, 1)
			<-spoke
			mesh.Partition(client, w)
			for slices.ContainsFunc(p.Stats().Workers, func(w pipeline.WorkerStats) bool { return w.Connected }) {
				sleep(10 * time.Millisecond)
			}
			sleep(gone)
			if n := p.Stats().InFlight; n != 1 {
				t.Errorf("%d tasks are with the worker, want 1", n)
			}
			sleep(patience)
			if n := p.Stats().InFlight; n != 0 {
				t.Errorf("%d tasks are with a worker that is gone", n)
			}
		})
	})
	t.Run("of a producer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			mesh := linktest.NewMesh(t)
			node := mesh.Node(link.Config{Service: "mailer", Limits: hasty()})
			canceled := make(chan struct{})
			w := pipeline.Pull(node, receipts, pipeline.NoResult(func(ctx context.Context, _ order) error {
				<-ctx.Done()
				close(canceled)
				return ctx.Err()
			}))
			mesh.Start(node)
			client := mesh.Node(link.Config{Limits: hasty()})
			st := greet(t, client, "q")
			sleep(time.Second)
			if err := st.Send(tasks(1)); err != nil {
				t.Fatal(err)
			}
			if err := speak(st); err != nil {
				t.Fatal(err)
			}
			mesh.Partition(client, node)
			for w.Stats().Producers > 0 {
				sleep(10 * time.Millisecond)
			}
			sleep(gone)
			select {
			case <-canceled:
				t.Error("the handler was canceled, and its producer spoke a moment ago")
			default:
			}
			sleep(patience)
			select {
			case <-canceled:
			default:
				t.Error("the handler of a producer that is gone runs on")
			}
		})
	})
}
