package pipeline_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/logtest"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// little is the least credit that a stream has, in bytes. A part has half of it.
const little = 8 << 10

// slowly reads the frames of a peer that has little credit, one credited frame per pause. It passes
// every frame to see until see returns false.
func slowly(st *link.Stream, pause time.Duration, see func(f link.Frame) bool) error {
	for {
		f, err := st.Recv()
		if err != nil || !see(f) {
			return err
		}
		if f.Credited {
			select {
			case <-time.After(pause):
			case <-st.Context().Done():
			}
			if err := st.Grant(1, len(f.Body)); err != nil {
				return err
			}
		}
	}
}

// done acks every task in the body of a frame.
func done(st *link.Stream, tasks []byte) error {
	var rec frame.Task
	var out []byte
	for len(tasks) > 0 {
		rest, err := rec.Cut(tasks)
		if err != nil {
			return err
		}
		tasks = rest
		o := frame.Outcome{Verb: frame.Ack, Seq: rec.Seq, Delivery: rec.Delivery}
		out = o.Append(out)
	}
	return st.Send(link.Frame{Kind: frame.KindOutcomes, Credited: true, Body: out})
}

// TestOthersDoNotWaitForTheEndOfATaskInParts checks that other tasks, PONG and orders are sent while a
// task is sent in parts, which takes minutes with little credit. An order about the task itself is
// sent when the worker has the task.
func TestOthersDoNotWaitForTheEndOfATaskInParts(t *testing.T) {
	// most bounds the parts that may come before a frame that is due.
	const most = 3
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var large, small *pipeline.Future[pipeline.None]
		p := producer(t, mesh.Node(link.Config{}))
		pushed := make(chan struct{})
		parts, due := 0, map[uint8]int{}
		expect := func(kind uint8) { due[kind] = parts + most }
		order := make(chan uint8, 100)
		over := make(chan struct{})
		hostileTo(t, mesh, little, func(_ context.Context, st *link.Stream) error {
			defer close(over)
			<-pushed
			if err := grant(st, 10); err != nil {
				return err
			}
			return slowly(st, time.Millisecond, func(f link.Frame) bool { //nolint:contextcheck // it ends with its stream
				for kind, at := range due {
					if f.Kind != kind && parts > at {
						t.Errorf("frame %#x has not come within %d parts", kind, most)
						return false
					}
				}
				delete(due, f.Kind)
				switch f.Kind {
				case frame.KindPart:
					switch parts++; parts {
					case 5:
						if err := st.Send(link.Frame{Kind: frame.KindPing, Body: []byte{1}}); err != nil {
							t.Error(err)
						}
						expect(frame.KindPong)
					case 20:
						var err error
						if small, err = p.Enqueue(t.Context(), orderOf(1)); err != nil {
							t.Error(err)
							return false
						}
						expect(frame.KindBeside)
					case 40:
						small.Cancel()
						expect(frame.KindCancel)
					case 60:
						large.Cancel()
					}
				case frame.KindPong, frame.KindBeside, frame.KindCancel, frame.KindTasks:
					order <- f.Kind
				}
				return len(order) < 5
			})
		})
		f, err := p.Enqueue(t.Context(), orderOf(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		large = f
		close(pushed)
		<-over
		close(order)
		want := []uint8{frame.KindPong, frame.KindBeside, frame.KindCancel, frame.KindTasks, frame.KindCancel}
		if got := slices.Collect(chanOf(order)); !slices.Equal(got, want) || parts < 200 {
			t.Errorf("frames %#x between %d parts, want %#x", got, parts, want)
		}
	})
}

func orderOf(size int) order { return order{ID: string(make([]byte, size))} }

func chanOf[T any](c chan T) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for v := range c {
			if !yield(v) {
				return
			}
		}
	}
}

// TestTheLeaseOfATaskGoesOnWithItsParts checks that a lease lasts while a task is sent in parts: a
// distant worker with little credit has the whole task only minutes after its first part.
func TestTheLeaseOfATaskGoesOnWithItsParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		hostileTo(t, mesh, little, func(_ context.Context, st *link.Stream) error {
			if err := grant(st, 1); err != nil {
				return err
			}
			var body []byte
			return slowly(st, time.Second, func(f link.Frame) bool {
				if f.Credited {
					body = append(body, f.Body...)
				}
				if f.Kind == frame.KindTasks {
					if err := done(st, body); err != nil {
						t.Error(err)
					}
				}
				return true
			})
		})
		f, err := producer(t, mesh.Node(link.Config{})).Enqueue(t.Context(), orderOf(1<<20))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := f.Wait(t.Context()); err != nil || f.Outcome().Attempts != 1 {
			t.Errorf("%v: %+v", err, f.Outcome())
		}
		if d := time.Since(began); d < time.Minute {
			t.Errorf("it took %v, which is no time that a lease does not last", d)
		}
	})
}

// TestAWorkerThatTakesPartsTooSlowlyIsGivenUp checks that a worker cannot keep a task for days by
// taking its parts slowly, whatever the worker says about the task.
func TestAWorkerThatTakesPartsTooSlowlyIsGivenUp(t *testing.T) { // SEC-396
	for name, says := range map[string]link.Frame{
		"and says that it is here": {Kind: frame.KindPing, Body: []byte{1}},
		"and says that it has it":  {Kind: frame.KindAlive, Body: frame.AppendList(nil, []uint64{1})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var streams atomic.Int64
				hostileTo(t, mesh, little, func(_ context.Context, st *link.Stream) error {
					streams.Add(1)
					if err := grant(st, 1); err != nil {
						return err
					}
					return slowly(st, 20*time.Second, func(link.Frame) bool {
						// Recv returns why the stream ends.
						_ = st.Send(says)
						return true
					})
				})
				log := &logtest.Log{}
				p := producer(t, mesh.Node(link.Config{Logger: log.Logger()}))
				f, err := p.Enqueue(t.Context(), orderOf(3<<20))
				if err != nil {
					t.Fatal(err)
				}
				sleep(10 * time.Minute)
				if n := p.Stats().Failures; n != 0 {
					t.Errorf("%d attempts have failed while parts are taken", n)
				}
				sleep(10 * time.Minute)
				if n := p.Stats().Failures; n == 0 {
					t.Error("the task is with the worker still")
				}
				if n := streams.Load(); n < 2 {
					t.Error("the rest of the task is sent to it still")
				}
				if n := log.Count("workers do not take a queue's tasks"); n != 1 || !log.Has("too slowly") {
					t.Errorf("said %d times, want once with the reason:\n%s", n, log)
				}
				worker(t, mesh, func(context.Context, order) error { return nil })
				wait(t, []*pipeline.Future[pipeline.None]{f})
			})
		})
	}
}

// TestATaskThatDoesNotArriveHasNotBegun cuts streams between the parts of a task, and expects that no
// attempt counts.
func TestATaskThatDoesNotArriveHasNotBegun(t *testing.T) { // SEC-397
	for name, end := range map[string]error{
		"for want of room":     link.Errorf(link.ResourceExhausted, "parts of frames whose ends have not come"),
		"for no reason of its": link.Errorf(link.Unavailable, "the worker goes"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var streams atomic.Int64
				node := hostileTo(t, mesh, little, func(_ context.Context, st *link.Stream) error {
					if err := grant(st, 1); err != nil {
						return err
					}
					parts := 0
					if err := slowly(st, 0, func(f link.Frame) bool {
						if f.Kind == frame.KindPart {
							parts++
						}
						return parts < 3
					}); err != nil {
						return err
					}
					streams.Add(1)
					return end
				})
				p := producer(t, mesh.Node(link.Config{}))
				f, err := p.Enqueue(t.Context(), orderOf(1<<20))
				if err != nil {
					t.Fatal(err)
				}
				for streams.Load() < 20 && f.Outcome().End == pipeline.EndOpen {
					sleep(time.Second)
				}
				if o := f.Outcome(); o.End != pipeline.EndOpen {
					t.Fatalf("after %d streams: %+v", streams.Load(), o)
				}
				mesh.Kill(node)
				worker(t, mesh, func(context.Context, order) error { return nil })
				wait(t, []*pipeline.Future[pipeline.None]{f})
				if n := f.Outcome().Attempts; n != 1 {
					t.Errorf("%d attempts, want one", n)
				}
			})
		})
	}
}

// TestATaskThatNoWorkerTakesIsADeadLetter checks that a task that is too long for any worker becomes a
// dead letter. The folder of a queue may hold such a task that another version wrote.
func TestATaskThatNoWorkerTakesIsADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		worker(t, mesh, func(context.Context, order) error { return nil })
		p := producer(t, mesh.Node(link.Config{}))
		wait(t, enqueue(t, p, 1))
		f, err := p.EnqueueRaw(t.Context(), make([]byte, pipeline.LongestTasks+1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Wait(t.Context()); !errors.Is(err, link.Aborted) || f.Outcome().End != pipeline.EndDeadLettered {
			t.Errorf("%v: %+v", err, f.Outcome())
		}
		wait(t, enqueue(t, p, 3))
		g, err := p.Enqueue(t.Context(), orderOf(3<<20))
		if err != nil {
			t.Fatal(err)
		}
		wait(t, []*pipeline.Future[pipeline.None]{g})
		if n := len(p.Stats().Workers); n != 1 {
			t.Errorf("%d workers", n)
		}
	})
}

// TestAStreamThatIsResetCondemnsNoTask checks that a task stays open if its stream fails while it is
// sent: that says nothing about the task, even a large one.
func TestAStreamThatIsResetCondemnsNoTask(t *testing.T) { // SEC-397
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		for _, size := range []int{1, 1 << 20} {
			p := producer(t, mesh.Node(link.Config{}))
			f, err := p.Enqueue(t.Context(), orderOf(size))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.SendRefused(link.Errorf(link.ResourceExhausted, "parts of frames whose ends have not come")); !errors.Is(err, link.ResourceExhausted) {
				t.Errorf("the stream: %v", err)
			}
			if o := f.Outcome(); o.End != pipeline.EndOpen {
				t.Errorf("a task of %d bytes: %+v", size, o)
			}
		}
	})
}
