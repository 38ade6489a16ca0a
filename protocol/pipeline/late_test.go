package pipeline_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// TestTheTimeOfATaskRunsWhileItComes checks that the TTL and the deadline of a task count while it
// arrives in parts, which may take minutes: it does not begin after its TTL, and its handler gets no
// more time than is left until its deadline.
func TestTheTimeOfATaskRunsWhileItComes(t *testing.T) {
	const transfer = 5 * time.Minute
	for name, c := range map[string]struct {
		rec frame.Task
		// want is how long the handler has until its deadline; 0 means that the task does not begin.
		want time.Duration
	}{
		"in time":            {frame.Task{Left: 8 * time.Minute, Start: 6 * time.Minute}, 3 * time.Minute},
		"after its TTL":      {frame.Task{Left: -1, Start: 4 * time.Minute}, 0},
		"after the deadline": {frame.Task{Left: 4 * time.Minute, Start: -1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				var had time.Duration
				worker(t, mesh, func(ctx context.Context, _ order) error {
					if end, ok := ctx.Deadline(); ok {
						had = time.Until(end).Round(time.Second)
					}
					return nil
				})
				st := greet(t, mesh.Node(link.Config{}), "q")
				frames := listen(st)
				body := frame.Body{Payload: []byte{0xa0}}
				rec := c.rec
				rec.Seq, rec.Delivery, rec.Attempt, rec.Body = 1, 1, 1, body.Append(nil)
				b := rec.Append(nil)
				for i, f := range []link.Frame{
					{Kind: frame.KindPart, Credited: true, Body: b[:2]},
					{Kind: frame.KindPart, Credited: true, Body: b[2:4]},
					{Kind: frame.KindTasks, Credited: true, Body: b[4:]},
				} {
					if i > 0 {
						sleep(transfer / 2)
					}
					if err := st.Send(f); err != nil {
						t.Fatal(err)
					}
				}
				sleep(time.Second)
				if verb := verbOf(t, frames); (verb == frame.Ack) != (c.want > 0) || had != c.want {
					t.Errorf("the outcome is %d, and it had %v until its deadline, want %v", verb, had, c.want)
				}
				// A task that comes whole has all of its time.
				rec.Seq = 2
				if err := st.Send(link.Frame{Kind: frame.KindTasks, Credited: true, Body: rec.Append(nil)}); err != nil {
					t.Fatal(err)
				}
				sleep(time.Second)
				if verb := verbOf(t, frames); verb != frame.Ack {
					t.Errorf("the outcome of one that came whole is %d", verb)
				}
			})
		})
	}
}

// verbOf returns the verb of the last outcome that has arrived.
func verbOf(t *testing.T, frames <-chan link.Frame) frame.Verb {
	t.Helper()
	synctest.Wait()
	var o frame.Outcome
	for {
		select {
		case f, ok := <-frames:
			if !ok {
				t.Fatal("the stream has ended")
			}
			if f.Kind == frame.KindOutcomes {
				if _, err := o.Cut(f.Body); err != nil {
					t.Fatal(err)
				}
			}
		default:
			return o.Verb
		}
	}
}
