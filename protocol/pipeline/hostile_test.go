package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/varint"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// hostile starts a node that answers producers as a worker would, and then has act handle
// their streams.
func hostile(t *testing.T, mesh *linktest.Mesh, act func(ctx context.Context, st *link.Stream) error) *link.Node {
	t.Helper()
	return hostileTo(t, mesh, 10<<20, act)
}

// hostileTo is like hostile, but gives each producer a credit, in bytes.
func hostileTo(t *testing.T, mesh *linktest.Mesh, credit int, act func(ctx context.Context, st *link.Stream) error) *link.Node {
	t.Helper()
	node := mesh.Node(link.Config{Service: "mailer"})
	link.HostOf(node).Handle(receipts.Route(), func(ctx context.Context, st *link.Stream) error {
		if err := welcome(st, credit); err != nil {
			return err
		}
		return act(ctx, st)
	})
	mesh.Start(node)
	return node
}

// welcome answers the HELLO of a producer, and gives it a credit, in bytes.
func welcome(st *link.Stream, credit int) error {
	if _, err := st.Recv(); err != nil {
		return err
	}
	f, err := frame.Encode(frame.KindWelcome, frame.Welcome{Epoch: 7, Slots: math.MaxInt32})
	if err != nil {
		return err
	}
	return errors.Join(st.Send(f), st.Grant(1000, credit))
}

// grant sends a window for a number of tasks, of any size.
func grant(st *link.Stream, tasks uint64) error {
	return st.Send(link.Frame{Kind: frame.KindWindow, Body: varint.Append(varint.Append(nil, tasks), 1<<60)})
}

func TestAWorkerThatGrantsEverythingAndDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var got atomic.Int64
		hostile(t, mesh, func(_ context.Context, st *link.Stream) error {
			if err := grant(st, 1<<50); err != nil {
				return err
			}
			for {
				f, err := st.Recv()
				if err != nil {
					return nil //nolint:nilerr // the end of the test
				}
				var rec frame.Task
				for b := f.Body; f.Kind == frame.KindTasks && len(b) > 0; {
					if b, err = rec.Cut(b); err != nil {
						return err
					}
					got.Add(1)
				}
			}
		})
		p := producer(t, mesh.Node(link.Config{}))
		all := enqueue(t, p, 10_000)
		sleep(time.Second)
		if n := got.Load(); n == 0 || n > queue.MaxWindow {
			t.Errorf("it was sent %d tasks, want at most %d", n, queue.MaxWindow)
		}
		if s := p.Stats(); s.InFlight > queue.MaxWindow || s.Workers[0].Window != queue.MaxWindow {
			t.Errorf("stats %+v", s)
		}
		var done tally
		worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil })
		// The leases of the hostile worker end after 30 s, and its tasks go to the other one. Some
		// come back to it.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		ends := map[pipeline.End]int{}
		for _, f := range all {
			if _, err := f.Wait(ctx); err != nil && !errors.Is(err, link.Aborted) {
				t.Fatal(err)
			}
			ends[f.Outcome().End]++
		}
		t.Logf("ends %v", ends)
		if ends[pipeline.EndAcked] < 9_000 {
			t.Errorf("ends %v", ends)
		}
	})
}

func TestWorkersThatLie(t *testing.T) {
	for name, act := range map[string]func(ctx context.Context, st *link.Stream) error{
		"acks tasks that it was not given": func(ctx context.Context, st *link.Stream) error {
			var b []byte
			for seq := range uint64(100) {
				o := frame.Outcome{Verb: frame.Ack, Seq: seq, Delivery: 1}
				b = o.Append(b)
			}
			if err := st.Send(link.Frame{Kind: frame.KindOutcomes, Credited: true, Body: b}); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		},
		"sends outcomes that cannot be read": func(_ context.Context, st *link.Stream) error {
			return errors.Join(st.Send(link.Frame{Kind: frame.KindOutcomes, Credited: true, Body: []byte{9, 9, 9}}), drained(st))
		},
		"sends a window that cannot be read": func(_ context.Context, st *link.Stream) error {
			return errors.Join(st.Send(link.Frame{Kind: frame.KindWindow, Body: []byte{0xff}}), drained(st))
		},
		"sends frames that nobody knows": func(_ context.Context, st *link.Stream) error {
			return errors.Join(st.Send(link.Frame{Kind: 0x5f, Body: []byte{1}}), drained(st))
		},
		"says that it drains and stays": func(_ context.Context, st *link.Stream) error {
			return errors.Join(grant(st, 10), st.Send(link.Frame{Kind: frame.KindLeaving}), drained(st))
		},
		"gives everything back": func(_ context.Context, st *link.Stream) error {
			if err := grant(st, 10); err != nil {
				return err
			}
			for {
				f, err := st.Recv()
				if err != nil {
					return nil //nolint:nilerr // the end of the test
				}
				var rec frame.Task
				var out []byte
				for b := f.Body; f.Kind == frame.KindTasks && len(b) > 0; {
					if b, err = rec.Cut(b); err != nil {
						return err
					}
					o := frame.Outcome{Verb: frame.Release, Seq: rec.Seq, Delivery: rec.Delivery}
					out = o.Append(out)
				}
				if len(out) > 0 {
					if err := st.Send(link.Frame{Kind: frame.KindOutcomes, Credited: true, Body: out}); err != nil {
						return nil //nolint:nilerr // the end of the test
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				p := producer(t, mesh.Node(link.Config{}))
				all := enqueue(t, p, 50)
				hostile(t, mesh, act)
				sleep(5 * time.Second)
				for _, f := range all {
					if f.Outcome().End != pipeline.EndOpen {
						t.Fatalf("a task ended and nobody did it: %+v", f.Outcome())
					}
				}
				var done tally
				worker(t, mesh, func(_ context.Context, o order) error { done.add(o.ID); return nil })
				wait(t, all)
				if len(done.runs) != 50 {
					t.Errorf("%d tasks were done", len(done.runs))
				}
			})
		})
	}
}

// drained reads until the stream ends.
func drained(st *link.Stream) error {
	for {
		if _, err := st.Recv(); err != nil {
			return nil //nolint:nilerr // it has ended
		}
	}
}

func TestProducersThatLie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var runs atomic.Int64
		worker(t, mesh, func(ctx context.Context, _ order) error { runs.Add(1); <-ctx.Done(); return nil }, pipeline.Concurrency(2))
		client := mesh.Node(link.Config{})
		open := func(hello any) *link.Stream {
			st, err := link.HostOf(client).Open(t.Context(), receipts.Route(), link.StreamCredit(1000, 10<<20))
			if err != nil {
				t.Fatal(err)
			}
			f, err := frame.Encode(frame.KindHello, hello)
			if err == nil {
				err = st.Send(f)
			}
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
		refused := func(what string, st *link.Stream) {
			for {
				if _, err := st.Recv(); err != nil {
					if !errors.Is(err, link.InvalidArgument) {
						t.Errorf("%s: %v, want invalid argument", what, err)
					}
					return
				}
			}
		}
		refused("no queue", open(frame.Hello{}))
		refused("too many tasks", open(frame.Hello{Queue: "q", Held: make([]uint64, frame.MaxList+1)}))
		refused("not a HELLO", open("what"))
		st := open(frame.Hello{Queue: "q"})
		if err := st.Send(link.Frame{Kind: frame.KindTasks, Credited: true, Body: []byte{1, 2, 3}}); err != nil {
			t.Fatal(err)
		}
		refused("tasks that cannot be read", st)

		st = open(frame.Hello{Queue: "q"})
		body := frame.Body{Payload: []byte{0xa0}}
		var tasks []byte
		// These are far more tasks than the window of 2 allows.
		for seq := uint64(1); seq <= 1000; seq++ {
			rec := frame.Task{Seq: seq, Delivery: 1, Attempt: 1, Left: -1, Start: -1, Body: body.Append(nil)}
			tasks = rec.Append(tasks)
		}
		if err := st.Send(link.Frame{Kind: frame.KindTasks, Credited: true, Body: tasks}); err != nil {
			t.Fatal(err)
		}
		released := 0
		for released < 990 {
			f, err := st.Recv()
			if err != nil {
				t.Fatal(err)
			}
			var o frame.Outcome
			for b := f.Body; f.Kind == frame.KindOutcomes && len(b) > 0; {
				if b, err = o.Cut(b); err != nil {
					t.Fatal(err)
				}
				if o.Verb == frame.Release {
					released++
				}
			}
		}
		if n := runs.Load(); n > 2 {
			t.Errorf("%d handlers run in two slots", n)
		}
		if err := st.CloseSend(); err != nil {
			t.Error(err)
		}
		for {
			if _, err := st.Recv(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// greet opens a stream as a producer does.
func greet(t *testing.T, client *link.Node, queue string) *link.Stream {
	t.Helper()
	st, err := link.HostOf(client).Open(t.Context(), receipts.Route(), link.StreamCredit(1000, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	f, err := frame.Encode(frame.KindHello, frame.Hello{Queue: queue})
	if err == nil {
		err = st.Send(f)
	}
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// tasks returns a frame of n tasks that all have the number 1.
func tasks(n int) link.Frame {
	body := frame.Body{Payload: []byte{0xa0}}
	var b []byte
	for i := range n {
		rec := frame.Task{Seq: 1, Delivery: uint64(i) + 1, Attempt: 1, Left: -1, Start: -1, Body: body.Append(nil)}
		b = rec.Append(b)
	}
	return link.Frame{Kind: frame.KindTasks, Credited: true, Body: b}
}

func TestAProducerThatSendsAndDoesNotReadIsLeft(t *testing.T) {
	for name, f := range map[string]link.Frame{
		"tasks that are done":            tasks(2000),
		"parts of a task without an end": {Kind: frame.KindPart, Credited: true, Body: make([]byte, 50<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				worker(t, mesh, func(context.Context, order) error { return nil })
				st := greet(t, mesh.Node(link.Config{}), "q")
				sleep(time.Second)
				sent := 0
				var err error
				for ; sent < 10_000 && err == nil; sent++ {
					err = st.Send(f)
				}
				// Recv returns why the stream ended.
				for err = nil; err == nil; {
					_, err = st.Recv()
				}
				if !errors.Is(err, link.ResourceExhausted) {
					t.Errorf("after %d frames: %v, want resource exhausted", sent, err)
				}
			})
		})
	}
}

func TestTheWindowIsForTheStreamThatWasOpenedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		worker(t, mesh, func(context.Context, order) error { return nil }, pipeline.Concurrency(1024))
		client := mesh.Node(link.Config{})
		for i := range 300 {
			queue := fmt.Sprint("q", i)
			streams := []*link.Stream{greet(t, client, queue), greet(t, client, queue)}
			var kinds [2]map[uint8]bool
			var reading sync.WaitGroup
			for j, st := range streams {
				kinds[j] = make(map[uint8]bool)
				reading.Go(func() {
					for {
						f, err := st.Recv()
						if err != nil {
							return
						}
						kinds[j][f.Kind] = true
					}
				})
			}
			sleep(10 * time.Millisecond)
			for _, st := range streams {
				// The older stream ends.
				_ = st.Send(tasks(1))
			}
			sleep(100 * time.Millisecond)
			for _, st := range streams {
				st.Close()
			}
			reading.Wait()
			for j := range streams {
				if kinds[j][frame.KindOutcomes] && !kinds[j][frame.KindWindow] {
					t.Fatalf("the stream that the worker answers on was not told its window; pair %d", i)
				}
			}
		}
	})
}
