package queue_test

import (
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

func TestAnAttemptSaysHowItEnded(t *testing.T) {
	const later = 11 * second
	lose := func(q *queue.Queue, w *queue.Worker, now int64) { q.Disconnect(w, false, now, now) }
	answer := func(verb frame.Verb) func(t *testing.T, q *queue.Queue, w *queue.Worker, now int64) {
		return func(t *testing.T, q *queue.Queue, w *queue.Worker, now int64) {
			t.Helper()
			if err := q.Apply(w, (&frame.Outcome{Verb: verb, Seq: 1, Delivery: 1, Delay: -1, Data: []byte("no")}).Append(nil), now); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name string
		do   func(t *testing.T, q *queue.Queue, w *queue.Worker, now int64)
		want string
	}{
		{"the handler returned an error", answer(frame.Retry), "failed"},
		{"the handler rejected the task", answer(frame.Reject), "failed"},
		{"the handler gave the task back", answer(frame.Release), "released"},
		{"the worker is silent", func(_ *testing.T, q *queue.Queue, _ *queue.Worker, now int64) { q.Tick(now + later) }, "lease ended"},
		{"the worker does not come back", func(_ *testing.T, q *queue.Queue, w *queue.Worker, now int64) {
			lose(q, w, now)
			q.Tick(now + later)
		}, "disconnected"},
		{"the worker comes back as another process", func(_ *testing.T, q *queue.Queue, _ *queue.Worker, now int64) {
			q.Join("w", queue.Welcome{Epoch: 2, Slots: 1}, now)
		}, "disconnected"},
		{"the worker is not found any more", func(_ *testing.T, q *queue.Queue, w *queue.Worker, now int64) {
			lose(q, w, now)
			q.GiveUp("w", queue.CauseUnlisted, now)
		}, "disconnected"},
		{"the process of the worker is gone", func(_ *testing.T, q *queue.Queue, w *queue.Worker, now int64) {
			lose(q, w, now)
			q.GiveUp("w", queue.CauseGone, now)
		}, "disconnected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := queue.New(queue.Options{Lease: 10 * time.Second})
			now := 100 * second
			w := q.Join("w", queue.Welcome{Epoch: 1, Slots: 1}, now)
			q.Window(w, 1, 1<<20, now)
			task := &queue.Task{Body: []byte{0, 1}}
			if _, err := q.Add(task, now); err != nil {
				t.Fatal(err)
			}
			if _, n := q.Take(w, nil, 1<<20, now); n != 1 {
				t.Fatalf("%d tasks were sent", n)
			}
			tt.do(t, q, w, now)
			if len(task.History) != 1 || task.History[0].Outcome() != tt.want {
				t.Errorf("%+v, want one attempt with the outcome %q", task.History, tt.want)
			}
		})
	}
}
