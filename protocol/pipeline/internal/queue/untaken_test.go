package queue_test

import (
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// serve has a worker take the tasks that are to be sent to it and ack them, and returns how many they
// were.
func serve(t *testing.T, q *queue.Queue, w *queue.Worker, now int64) (n int) {
	t.Helper()
	body, n := q.Take(w, nil, short, now)
	var rec frame.Task
	var out []byte
	for len(body) > 0 {
		rest, err := rec.Cut(body)
		if err != nil {
			t.Fatal(err)
		}
		body = rest
		o := frame.Outcome{Verb: frame.Ack, Seq: rec.Seq, Delivery: rec.Delivery}
		out = o.Append(out)
	}
	if err := q.Apply(w, out, now); err != nil {
		t.Fatal(err)
	}
	return n
}

// inFlight returns how many tasks a worker has.
func inFlight(q *queue.Queue, id string, now int64) int {
	for _, w := range q.State(now).Workers {
		if w.ID == id {
			return w.InFlight
		}
	}
	return 0
}

// TestAWorkerThatTakesNothingKeepsNothing checks that a worker keeps no task that was not sent to it,
// although it is alive and all others are busy: for each task that is done, another one is added.
func TestAWorkerThatTakesNothingKeepsNothing(t *testing.T) { // SEC-396
	for name, first := range map[string]int{"a frame of it waits for credit": 2, "a part of it waits for credit": 10 * short} {
		t.Run(name, func(t *testing.T) {
			q := queue.New(queue.Options{})
			now := second
			silent := joined(q, "silent", 1, now)
			sent := added(t, q, make([]byte, first), now)
			if got := taken(t, q, silent, now); !slices.Equal(got, []uint64{sent.Seq}) {
				t.Fatalf("took %v", got)
			}
			other := joined(q, "other", 1, now)
			var tasks []*queue.Task
			for range 40 {
				tasks = append(tasks, added(t, q, []byte{0, 1}, now))
			}
			for range 2 * queue.DefaultLease / time.Second {
				now += second
				q.Vouch(silent, []uint64{sent.Seq}, now)
				q.Tick(now)
				for range serve(t, q, other, now) {
					added(t, q, []byte{0, 1}, now)
				}
				if err := q.Check(); err != nil {
					t.Fatal(err)
				}
			}
			for i, task := range tasks {
				if task.End != queue.Acked || task.Attempts != 1 {
					t.Errorf("task %d is %v after %d attempts", i, task.End, task.Attempts)
				}
			}
			if n := inFlight(q, "silent", now); n > 1 {
				t.Errorf("%d tasks are with it", n)
			}
			q.Sent(silent, now)
			select {
			case <-silent.Ready():
			default:
				t.Error("nobody looks whether it takes something again")
			}
			if n := serve(t, q, silent, now); n == 0 {
				t.Error("it gets nothing when it takes something again")
			}
			if err := q.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestALongTaskIsNotKeptBehindOthers checks that a long task does not stay behind one that its worker takes
// part by part, although all others are busy.
func TestALongTaskIsNotKeptBehindOthers(t *testing.T) { // SEC-396
	q := queue.New(queue.Options{})
	now := second
	slow := joined(q, "slow", 1, now)
	tasks := []*queue.Task{long(t, q, now), long(t, q, now), long(t, q, now)}
	if got := taken(t, q, slow, now); !slices.Equal(got, []uint64{tasks[0].Seq}) {
		t.Fatalf("took %v", got)
	}
	other := joined(q, "other", 1, now)
	for range 20 {
		added(t, q, []byte{0, 1}, now)
	}
	for range 2 * queue.DefaultLease / time.Second {
		now += second
		q.Sending(slow, now)
		q.Tick(now)
		taken(t, q, slow, now)
		for range serve(t, q, other, now) {
			q.Sent(other, now)
			added(t, q, []byte{0, 1}, now)
		}
		if err := q.Check(); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []queue.End{queue.Open, queue.Acked, queue.Acked} {
		if tasks[i].End != want {
			t.Errorf("task %d is %v, want %v", i, tasks[i].End, want)
		}
	}
}

// TestTheOnlyWorkerKeepsWhatItWasNotSent checks that unsent tasks stay with the only worker, because no
// other one would do them sooner.
func TestTheOnlyWorkerKeepsWhatItWasNotSent(t *testing.T) {
	q := queue.New(queue.Options{})
	now := second
	slow := joined(q, "slow", 1, now)
	long(t, q, now)
	next := long(t, q, now)
	taken(t, q, slow, now)
	for range 2 * queue.DefaultLease / time.Second {
		now += second
		q.Sending(slow, now)
		q.Tick(now)
	}
	small := added(t, q, []byte{0, 1}, now)
	if got := taken(t, q, slow, now); !slices.Equal(got, []uint64{small.Seq}) {
		t.Errorf("took %v between the parts, want %d", got, small.Seq)
	}
	q.Sent(slow, now)
	if got := taken(t, q, slow, now); !slices.Equal(got, []uint64{next.Seq}) || q.State(now).Released != 0 {
		t.Errorf("took %v, want %d; %d were given back", got, next.Seq, q.State(now).Released)
	}
}

// TestATaskThatIsNotSentExpires checks that a task that is bound but not sent expires, because no worker
// can have begun it.
func TestATaskThatIsNotSentExpires(t *testing.T) {
	q := queue.New(queue.Options{})
	now := second
	w := joined(q, "w", 1, now)
	var tasks []*queue.Task
	for range 2 {
		task := &queue.Task{Body: []byte{0, 1}, Expires: now + second}
		if _, err := q.Add(task, now); err != nil {
			t.Fatal(err)
		}
		if tasks = append(tasks, task); len(tasks) == 1 {
			taken(t, q, w, now)
		}
	}
	for q.Next() != 0 && q.Next() <= tasks[1].Expires {
		now = q.Next()
		q.Tick(now)
	}
	if tasks[0].End != queue.Open || tasks[1].End != queue.Expired {
		t.Errorf("the one that was sent is %v, the other one %v", tasks[0].End, tasks[1].End)
	}
	if err := q.Check(); err != nil {
		t.Error(err)
	}
}
