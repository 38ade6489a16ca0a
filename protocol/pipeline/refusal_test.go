package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/internal/logtest"
	"github.com/linkmesh/link/protocol/pipeline"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// TestATaskThatIsRefusedWhenAllOfItIsSentHasNotBegun has a worker refuse a task after all of its parts
// were sent, when the worker was last heard from long ago. No attempt may count, because the worker does
// not know the task and says so when it is asked.
func TestATaskThatIsRefusedWhenAllOfItIsSentHasNotBegun(t *testing.T) { // SEC-397
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		// The streams follow one another, so these need no lock.
		refused, last := 0, time.Now()
		node := mesh.Node(link.Config{Service: "mailer"})
		link.HostOf(node).Handle(receipts.Route(), func(_ context.Context, st *link.Stream) error {
			first, err := st.Recv()
			if err != nil {
				return err
			}
			var hello frame.Hello
			if err := frame.Decode(first, frame.KindHello, &hello); err != nil {
				return err
			}
			f, err := frame.Encode(frame.KindWelcome, frame.Welcome{Epoch: 7, Slots: 1, Unknown: hello.Held})
			if err != nil {
				return err
			}
			if err := errors.Join(st.Send(f), st.Grant(1000, 1<<20), grant(st, 1)); err != nil {
				return err
			}
			if took := time.Since(last); len(hello.Held) > 0 && took > pipeline.DefaultGrace/2 {
				t.Errorf("it was asked %v after it had refused a task", took)
			}
			var body []byte
			for parts := false; ; {
				f, err := st.Recv()
				if err != nil {
					return err
				}
				if f.Credited {
					body = append(body, f.Body...)
				}
				parts = parts || f.Kind == frame.KindPart
				if !parts || f.Kind != frame.KindTasks {
					continue
				}
				if refused++; refused > 10 {
					return errors.Join(done(st, body), untilEnd(st))
				}
				last = time.Now()
				return link.Errorf(link.ResourceExhausted, "parts of frames whose ends have not come")
			}
		})
		mesh.Start(node)
		log := &logtest.Log{}
		p := producer(t, mesh.Node(link.Config{Logger: log.Logger()}))
		// The worker sends nothing for a minute.
		sleep(time.Minute)
		f, err := p.Enqueue(t.Context(), orderOf(100<<10))
		if err != nil {
			t.Fatal(err)
		}
		wait(t, []*pipeline.Future[pipeline.None]{f})
		if n := f.Outcome().Attempts; n != 1 || refused != 11 {
			t.Errorf("%d attempts and %d refusals, want 1 and 10: %+v", n, refused-1, f.Outcome())
		}
		if n := log.Count("workers do not take a queue's tasks"); n != 1 || !log.Has("parts of frames whose ends have not come") {
			t.Errorf("said %d times that tasks are refused, want once with the reason:\n%s", n, log)
		}
	})
}

// untilEnd reads until the stream ends, and returns why it ended.
func untilEnd(st *link.Stream) error {
	for {
		if _, err := st.Recv(); err != nil {
			return err
		}
	}
}
