package queue_test

import (
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

const second = int64(time.Second)

func TestExpiryDuringARecall(t *testing.T) {
	q := queue.New(queue.Options{})
	now := 100 * second
	slow := q.Join("slow", queue.Welcome{Epoch: 1, Slots: 1}, now)
	q.Window(slow, 10, 1<<20, now)
	var tasks []*queue.Task
	for i := range 4 {
		task := &queue.Task{Body: []byte{0, 1}, Expires: now + second}
		if i == 0 {
			task.Expires = 0
		}
		if _, err := q.Add(task, now); err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	if _, n := q.Take(slow, nil, 1<<20, now); n != 4 {
		t.Fatalf("%d tasks were sent", n)
	}
	now += second / 2
	idle := q.Join("idle", queue.Welcome{Epoch: 2, Slots: 2}, now)
	q.Window(idle, 2, 1<<20, now)
	q.Tick(now)
	recalls, _ := q.TakeOrders(slow, nil, nil)
	if len(recalls) != 2 || recalls[0] != 4 || recalls[1] != 3 {
		t.Fatalf("recalled %v, want as many as the idle worker has room for, the last first", recalls)
	}
	// The tasks expire while the recall is in flight.
	now += second
	q.Tick(now)
	var answer []byte
	for _, seq := range []uint64{4, 3} {
		answer = (&frame.Outcome{Verb: frame.Release, Seq: seq, Delivery: 1}).Append(answer)
	}
	answer = (&frame.Outcome{Verb: frame.Started, Seq: 2, Delivery: 1}).Append(answer)
	if err := q.Apply(slow, answer, now); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{2, 3} {
		if tasks[i].End != queue.Expired || tasks[i].Attempts != 0 {
			t.Errorf("task %d: %v after %d attempts, want expired after none", i+1, tasks[i].End, tasks[i].Attempts)
		}
	}
	// Task 2 had begun in time.
	answer = (&frame.Outcome{Verb: frame.Ack, Seq: 2, Delivery: 1}).Append(nil)
	if err := q.Apply(slow, answer, now); err != nil || tasks[1].End != queue.Acked {
		t.Errorf("task 2: %v, %v", tasks[1].End, err)
	}
	if err := q.Check(); err != nil {
		t.Error(err)
	}
}

func TestALeaseThatNobodyVouchesForEnds(t *testing.T) {
	q := queue.New(queue.Options{Lease: 10 * time.Second})
	now := 100 * second
	w := q.Join("w", queue.Welcome{Epoch: 1, Slots: 1}, now)
	q.Window(w, 2, 1<<20, now)
	kept, lost := &queue.Task{Body: []byte{0}}, &queue.Task{Body: []byte{0}}
	for _, task := range []*queue.Task{kept, lost} {
		if _, err := q.Add(task, now); err != nil {
			t.Fatal(err)
		}
	}
	q.Take(w, nil, 1<<20, now)
	for range 3 {
		now += 5 * second
		q.Vouch(w, []uint64{kept.Seq, 77}, now)
		q.Tick(now)
	}
	if _, cancels := q.TakeOrders(w, nil, nil); len(cancels) != 1 || cancels[0] != lost.Seq || lost.Attempts != 1 || kept.Attempts != 0 {
		t.Errorf("canceled %v; attempts %d and %d", cancels, kept.Attempts, lost.Attempts)
	}
	// The worker did the task all the same, and acks it before another one has begun it.
	if err := q.Apply(w, (&frame.Outcome{Verb: frame.Ack, Seq: lost.Seq, Delivery: 1}).Append(nil), now); err != nil || lost.End != queue.Acked {
		t.Errorf("a late ack: %v, %v", lost.End, err)
	}
	if err := q.Check(); err != nil {
		t.Error(err)
	}
}

func TestWhatAWorkerLeavesBehind(t *testing.T) {
	for _, tt := range []struct {
		name  string
		clean bool
		// want has the attempts of three tasks. The third was not sent.
		want []int
	}{{"the stream ended clean", true, []int{0, 0, 0}}, {"the connection was lost", false, []int{1, 0, 0}}} {
		q := queue.New(queue.Options{})
		now := 100 * second
		w := q.Join("w", queue.Welcome{Epoch: 1, Slots: 1}, now)
		q.Window(w, 2, 1<<20, now)
		var tasks []*queue.Task
		for i := range 3 {
			task := &queue.Task{Body: []byte{0}}
			if _, err := q.Add(task, now); err != nil {
				t.Fatal(err)
			}
			if tasks = append(tasks, task); i == 1 {
				q.Take(w, nil, 1<<20, now)
				q.Window(w, 3, 1<<20, now)
			}
		}
		q.Disconnect(w, tt.clean, now, now)
		now += 6 * second
		q.Tick(now)
		for i, task := range tasks {
			if task.Attempts != tt.want[i] {
				t.Errorf("%s: task %d had %d attempts, want %d", tt.name, i+1, task.Attempts, tt.want[i])
			}
		}
		if err := q.Check(); err != nil {
			t.Error(err)
		}
	}
}

func TestACancellationIsToldToAWorkerThatComesBack(t *testing.T) {
	for name, before := range map[string]bool{"canceled before the connection was lost": true, "canceled after it": false} {
		q := queue.New(queue.Options{})
		w := q.Join("w", queue.Welcome{Epoch: 1, Slots: 1}, 0)
		q.Window(w, 1, 1<<20, 0)
		task, err := q.Add(&queue.Task{Body: []byte{0, 1}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, n := q.Take(w, nil, 1<<20, 0); n != 1 {
			t.Fatal("it was not sent")
		}
		if before {
			q.Cancel(task.Seq, 1)
		}
		q.Disconnect(w, false, 1, 1)
		if !before {
			q.Cancel(task.Seq, 2)
		}
		w = q.Join("w", queue.Welcome{Epoch: 1, Slots: 1}, 3)
		if _, cancels := q.TakeOrders(w, nil, nil); !slices.Equal(cancels, []uint64{task.Seq}) {
			t.Errorf("%s: it is told to cancel %v", name, cancels)
		}
	}
}

func TestWhatHasEndedTakesLittleMemory(t *testing.T) {
	q := queue.New(queue.Options{Attempts: 30, DeadBytes: 1 << 20})
	w := q.Join("w", queue.Welcome{Epoch: 1, Slots: 1}, 0)
	q.Window(w, 1, 1<<30, 0)
	end := func(id string, o frame.Outcome) *queue.Task {
		task, err := q.Add(&queue.Task{Body: make([]byte, 1<<10), ID: id}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for task.End == queue.Open {
			q.Tick(task.NotBefore)
			_, n := q.Take(w, nil, 1<<20, task.NotBefore)
			if n != 1 {
				t.Fatalf("%d tasks to send", n)
			}
			o.Seq = task.Seq
			o.Delivery++
			if err := q.Apply(w, o.Append(nil), task.NotBefore); err != nil {
				t.Fatal(err)
			}
		}
		return task
	}
	if task := end("a", frame.Outcome{Verb: frame.Ack}); task.Body != nil {
		t.Error("a task that is done and remembered for its ID keeps its body")
	}
	for range 100 {
		end("", frame.Outcome{Verb: frame.Retry, Data: make([]byte, frame.MaxCause)})
	}
	dead := 0
	for task := range q.Dead {
		if dead++; len(task.Body) != 1<<10 || len(task.History) != 30 {
			t.Errorf("a dead letter of %d bytes and %d attempts", len(task.Body), len(task.History))
		}
	}
	if dead < 20 || dead > 1<<20/(30<<10) {
		t.Errorf("%d dead letters with 30 KiB of causes each are in 1 MiB", dead)
	}
}

func TestLowPrioritiesAreServedInTheEnd(t *testing.T) {
	q := queue.New(queue.Options{})
	now := 100 * second
	low := &queue.Task{Body: []byte{0}, Priority: 0}
	if _, err := q.Add(low, now); err != nil {
		t.Fatal(err)
	}
	w := q.Join("w", queue.Welcome{Epoch: 1, Slots: 1}, now)
	for i := range 200 {
		if _, err := q.Add(&queue.Task{Body: []byte{0}, Priority: 9}, now); err != nil {
			t.Fatal(err)
		}
		q.Window(w, uint64(i+1), 1<<30, now)
		if _, n := q.Take(w, nil, 1<<20, now); n != 1 {
			t.Fatalf("%d tasks were sent", n)
		}
		if slices.Contains(q.Held("w"), low.Seq) {
			if waited := time.Duration(now - low.Added); waited < 80*time.Second || waited > 100*time.Second {
				t.Errorf("the lowest priority waited %v, want 90 s", waited)
			}
			return
		}
		now += second
	}
	t.Error("the lowest priority starves")
}

// TestADeliveryThatAWorkerMadeUpDoesNotOverflow checks that deliveries after a made-up one do not
// overflow. The next worker would end the stream, and with it all that it has of the queue.
func TestADeliveryThatAWorkerMadeUpDoesNotOverflow(t *testing.T) { // SEC-372
	now := 100 * second
	for _, said := range []uint64{1 << 31, 1<<32 - 2, 1<<32 - 1, 1<<62 - 1} {
		q := queue.New(queue.Options{})
		q.Await([]string{"liar"}, now)
		q.Restore(&queue.Task{Seq: 1, Body: []byte{0, 1}}, now)
		liar := q.Join("liar", queue.Welcome{Epoch: 1, Slots: 1, Running: []uint64{1, said}}, now)
		q.Window(liar, 0, 0, now)
		// The task goes to one worker after the other.
		for i := range uint64(3) {
			q.Disconnect(liar, true, now, now)
			liar = q.Join("other", queue.Welcome{Epoch: 2 + i, Slots: 1}, now)
			q.Window(liar, 1, 1<<20, now)
			b, n := q.Take(liar, nil, 1<<20, now)
			var rec frame.Task
			if _, err := rec.Cut(b); n != 1 || err != nil {
				t.Errorf("delivery %d: after it %d tasks are sent, delivery %d, %v", said, n, rec.Delivery, err)
			}
		}
	}
}

// TestALateWelcomeEndsWhatIsWithAnotherNow checks that a worker is told to cancel tasks that it was asked
// about when its stream was opened, if they were given to another worker before it answered.
func TestALateWelcomeEndsWhatIsWithAnotherNow(t *testing.T) {
	q := queue.New(queue.Options{})
	now := 100 * second
	w := q.Join("w", queue.Welcome{Epoch: 1, Slots: 4}, now)
	q.Window(w, 4, 1<<20, now)
	for range 3 {
		if _, err := q.Add(&queue.Task{Body: []byte{0, 1}}, now); err != nil {
			t.Fatal(err)
		}
	}
	if _, n := q.Take(w, nil, 1<<20, now); n != 3 {
		t.Fatalf("%d tasks were sent", n)
	}
	q.Disconnect(w, false, now, now)
	asked := q.Held("w")
	now += int64(queue.DefaultGrace)
	q.Tick(now)
	other := q.Join("other", queue.Welcome{Epoch: 2, Slots: 1}, now)
	q.Window(other, 1, 1<<20, now)
	if _, n := q.Take(other, nil, 1<<20, now); n != 1 || len(asked) != 3 {
		t.Fatalf("%d tasks went to the other worker, %v were asked about", n, asked)
	}
	w = q.Join("w", queue.Welcome{Epoch: 1, Slots: 4, Asked: asked, Unknown: asked[2:]}, now)
	_, cancels := q.TakeOrders(w, nil, nil)
	if !slices.Equal(cancels, asked[:2]) {
		t.Errorf("it is told to cancel %v, want %v: it has none of %v here", cancels, asked[:2], asked)
	}
	// The worker must do what it is given meanwhile.
	q.Disconnect(w, false, now, now)
	w = q.Join("w", queue.Welcome{Epoch: 1, Slots: 4, Asked: asked}, now)
	q.Window(w, 4, 1<<20, now)
	if _, n := q.Take(w, nil, 1<<20, now); n != 2 {
		t.Fatalf("%d tasks were sent", n)
	}
	_, cancels = q.TakeOrders(w, nil, nil)
	if held := q.Held("other"); !slices.Equal(cancels, held) {
		t.Errorf("it is told to cancel %v, and the other one has %v", cancels, held)
	}
	if err := q.Check(); err != nil {
		t.Error(err)
	}
}
