package queue_test

import (
	"slices"
	"testing"

	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// long adds a task that needs several frames of short bytes.
func long(t *testing.T, q *queue.Queue, now int64) *queue.Task {
	t.Helper()
	return added(t, q, make([]byte, 10*short), now)
}

const short = 200

func added(t *testing.T, q *queue.Queue, body []byte, now int64) *queue.Task {
	t.Helper()
	task := &queue.Task{Body: body}
	if _, err := q.Add(task, now); err != nil {
		t.Fatal(err)
	}
	return task
}

// joined adds a worker with room for ten tasks, which runs as many at once as it has slots.
func joined(q *queue.Queue, id string, slots int, now int64) *queue.Worker {
	w := q.Join(id, queue.Welcome{Epoch: 1, Slots: slots}, now)
	// This tells the queue how long the worker's frames may be.
	q.Take(w, nil, short, now)
	q.Window(w, 10, 1<<20, now)
	return w
}

// taken takes the tasks that are to be sent to a worker next, and returns their numbers.
func taken(t *testing.T, q *queue.Queue, w *queue.Worker, now int64) (out []uint64) {
	t.Helper()
	body, _ := q.Take(w, nil, short, now)
	var rec frame.Task
	for len(body) > 0 {
		rest, err := rec.Cut(body)
		if err != nil {
			t.Fatal(err)
		}
		out, body = append(out, rec.Seq), rest
	}
	return out
}

// TestATaskThatEndsBeforeItFailsIsNotSentForEver checks that Fail lets other tasks that need parts go to
// the worker, even if the task has ended before.
func TestATaskThatEndsBeforeItFailsIsNotSentForEver(t *testing.T) {
	q := queue.New(queue.Options{})
	now := second
	w := joined(q, "w", 1, now)
	first, next := long(t, q, now), long(t, q, now)
	if got := taken(t, q, w, now); len(got) != 1 || got[0] != first.Seq {
		t.Fatalf("took %v", got)
	}
	rejected := (&frame.Outcome{Verb: frame.Reject, Seq: first.Seq, Delivery: 1}).Append(nil)
	if err := q.Apply(w, rejected, now); err != nil || first.End != queue.DeadLettered {
		t.Fatal(first.End, err)
	}
	for len(w.Ready()) > 0 {
		<-w.Ready()
	}
	q.Fail(w, first.Seq, "it is too long", now)
	if len(w.Ready()) == 0 {
		t.Error("nobody is told that the next one can go")
	}
	if got := taken(t, q, w, now); len(got) != 1 || got[0] != next.Seq {
		t.Errorf("took %v, want the next one", got)
	}
	if err := q.Check(); err != nil {
		t.Error(err)
	}
}

// TestOthersPassALongTaskThatWaitsForAnother checks that short tasks pass a long task that waits until
// another one is sent in parts to the same worker.
func TestOthersPassALongTaskThatWaitsForAnother(t *testing.T) {
	q := queue.New(queue.Options{})
	now := second
	w := joined(q, "w", 4, now)
	first, next := long(t, q, now), long(t, q, now)
	small := added(t, q, []byte{0, 1}, now)
	for i, want := range [][]uint64{{first.Seq}, {small.Seq}, nil} {
		if got := taken(t, q, w, now); !slices.Equal(got, want) {
			t.Errorf("step %d: took %v, want %v", i, got, want)
		}
		q.Sending(w, now)
	}
	q.Sent(w, now)
	if got := taken(t, q, w, now); !slices.Equal(got, []uint64{next.Seq}) {
		t.Errorf("took %v when the first was sent, want %d", got, next.Seq)
	}
	if err := q.Check(); err != nil {
		t.Error(err)
	}
}

// TestALongTaskThatWaitsForAnotherGoesToAWorkerThatIsFree checks that a long task that waits until another
// one is sent in parts goes to a worker that has no other long one to take first.
func TestALongTaskThatWaitsForAnotherGoesToAWorkerThatIsFree(t *testing.T) {
	q := queue.New(queue.Options{})
	now := second
	w := joined(q, "w", 4, now)
	tasks := []*queue.Task{long(t, q, now), long(t, q, now), long(t, q, now)}
	if got := taken(t, q, w, now); !slices.Equal(got, []uint64{tasks[0].Seq}) {
		t.Fatalf("took %v", got)
	}
	other := joined(q, "other", 4, now)
	for i, want := range [][]uint64{{tasks[1].Seq}, nil} {
		now += second
		q.Sending(w, now)
		q.Sending(other, now)
		q.Tick(now)
		if got := taken(t, q, other, now); !slices.Equal(got, want) {
			t.Errorf("step %d: the other took %v, want %v", i, got, want)
		}
		if got := taken(t, q, w, now); len(got) != 0 {
			t.Errorf("step %d: the first took %v", i, got)
		}
		if err := q.Check(); err != nil {
			t.Error(err)
		}
	}
	q.Sent(other, now)
	now += second
	q.Sending(w, now)
	q.Tick(now)
	if got := taken(t, q, other, now); !slices.Equal(got, []uint64{tasks[2].Seq}) {
		t.Errorf("the other took %v when it was free again, want %d", got, tasks[2].Seq)
	}
	for _, task := range tasks {
		if task.Attempts != 0 || len(task.History) != 0 {
			t.Errorf("task %d has failed: %+v", task.Seq, task.History)
		}
	}
	if err := q.Check(); err != nil {
		t.Error(err)
	}
}
