package queue_test

import (
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

const tick = int64(10 * time.Millisecond)

// TestATaskIsNotPassedAmongWorkersThatTakeNothing checks that a task is not passed among workers that
// take nothing while another worker is idle.
func TestATaskIsNotPassedAmongWorkersThatTakeNothing(t *testing.T) { // SEC-396
	const silent = 2
	q := queue.New(queue.Options{})
	now := second
	joined(q, "silent 1", 10, now)
	task := added(t, q, []byte{0, 1}, now)
	joined(q, "silent 2", 10, now)
	honest := joined(q, "honest", 10, now)
	var got []uint64
	for looked := 0; len(got) == 0; looked++ {
		if looked > silent+1 {
			t.Fatal("each has had it for 10 ms, and the idle one has not")
		}
		now += tick
		q.Tick(now)
		got = taken(t, q, honest, now)
	}
	if !slices.Equal(got, []uint64{task.Seq}) {
		t.Errorf("the idle one took %v", got)
	}
	for range 10 {
		if next := added(t, q, []byte{0, 1}, now); !slices.Contains(taken(t, q, honest, now), next.Seq) && inFlight(q, "silent 1", now) > 0 {
			t.Error("a worker that takes nothing is given more")
		}
	}
	if err := q.Check(); err != nil {
		t.Error(err)
	}
}

// TestSmallTasksGoBetweenThePartsIfNobodyElseTakesAny checks that small tasks are sent between the parts
// of a long one if no other worker takes them, however long the parts take.
func TestSmallTasksGoBetweenThePartsIfNobodyElseTakesAny(t *testing.T) {
	for name, other := range map[string]struct {
		window uint64
		takes  bool
	}{
		"the other one has no window":           {},
		"the other one takes nothing":           {window: 10},
		"the other one is sent a long one, too": {window: 10, takes: true},
	} {
		t.Run(name, func(t *testing.T) {
			q := queue.New(queue.Options{})
			now := second
			workers := []*queue.Worker{joined(q, "w", 4, now)}
			first := long(t, q, now)
			if got := taken(t, q, workers[0], now); !slices.Equal(got, []uint64{first.Seq}) {
				t.Fatalf("took %v", got)
			}
			o := joined(q, "other", 4, now)
			q.Window(o, other.window, 1<<20, now)
			long(t, q, now)
			if other.takes {
				if n := len(taken(t, q, o, now)); n != 1 {
					t.Fatalf("the other one took %d", n)
				}
				workers = append(workers, o)
			}
			for range 4 {
				long(t, q, now)
			}
			for now < 2*int64(queue.DefaultLease) {
				now += second
				q.Tick(now)
				small := added(t, q, []byte{0, 1}, now)
				now += tick
				q.Tick(now)
				for _, w := range workers {
					q.Sending(w, now)
					serve(t, q, w, now)
				}
				if small.End != queue.Acked {
					t.Fatalf("%v after the first part a small one did not go between them", time.Duration(now-second))
				}
				if err := q.Check(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestAWorkerThatTakesLittleKeepsNothing checks that a worker keeps no task that it was not sent, even if
// it opens a new stream or takes a frame now and then.
func TestAWorkerThatTakesLittleKeepsNothing(t *testing.T) { // SEC-396
	for name, c := range map[string]struct {
		every int64
		again func(t *testing.T, q *queue.Queue, w *queue.Worker, now int64) []uint64
	}{
		"its stream ends every 29 s": {29 * second, func(_ *testing.T, q *queue.Queue, w *queue.Worker, now int64) []uint64 {
			q.Disconnect(w, true, now, now)
			q.Window(q.Join("silent", queue.Welcome{Epoch: 1, Slots: 1}, now), queue.MaxWindow, 1<<20, now)
			return nil
		}},
		"it takes a frame every 31 s": {31 * second, func(t *testing.T, q *queue.Queue, w *queue.Worker, now int64) []uint64 {
			t.Helper()
			return taken(t, q, w, now)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			q := queue.New(queue.Options{})
			now := second
			silent := joined(q, "silent", 1, now)
			q.Window(silent, queue.MaxWindow, 1<<20, now)
			var tasks []*queue.Task
			for range 150 {
				tasks = append(tasks, added(t, q, []byte{0, 1}, now))
			}
			sent := c.again(t, q, silent, now)
			other := joined(q, "other", 1, now)
			// These tasks come behind the first ones, which must be done before them.
			for range 100 {
				added(t, q, []byte{0, 1}, now)
			}
			for s := range int64(120) {
				now += second
				q.Tick(now)
				if s%(c.every/second) == 0 {
					sent = append(sent, c.again(t, q, q.Worker("silent"), now)...)
				}
				for range serve(t, q, other, now) {
					added(t, q, []byte{0, 1}, now)
				}
				if err := q.Check(); err != nil {
					t.Fatal(err)
				}
			}
			for i, task := range tasks {
				if task.End != queue.Acked && !slices.Contains(sent, task.Seq) {
					t.Errorf("task %d, which was not sent to it, is %v", i, task.End)
				}
			}
		})
	}
}

func TestTheMostUrgentOfWhatWaitsForAWorkerGoesToAnotherFirst(t *testing.T) {
	q := queue.New(queue.Options{})
	now := second
	joined(q, "blocked", 10, now)
	var seqs []uint64
	for _, p := range []uint8{9, 5, 0} {
		task := &queue.Task{Body: []byte{0, 1}, Priority: p}
		if _, err := q.Add(task, now); err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, task.Seq)
	}
	other := q.Join("other", queue.Welcome{Epoch: 1, Slots: 1}, now)
	q.Window(other, 1, 1<<20, now)
	now += tick
	q.Tick(now)
	if got := taken(t, q, other, now); !slices.Equal(got, seqs[:1]) {
		t.Errorf("the free one took %v of %v, want the first", got, seqs)
	}
}

// TestATaskThatWasJustBoundIsNotLookedAfter checks that the queue leaves a bound task alone for 10 ms,
// because the writer of its worker usually takes it sooner.
func TestATaskThatWasJustBoundIsNotLookedAfter(t *testing.T) {
	q := queue.New(queue.Options{})
	now := second
	joined(q, "w", 10, now)
	joined(q, "other", 10, now)
	q.Tick(now)
	now += second / 2
	added(t, q, []byte{0, 1}, now)
	if next := q.Next(); next != now+tick {
		t.Errorf("it is looked at again after %v, want %v", time.Duration(next-now), time.Duration(tick))
	}
}

// TestAWorkerIsSilentWhenItHasTakenNothingForALease checks that a worker is reported once as silent, after
// the time of a lease that begins when there is something to take.
func TestAWorkerIsSilentWhenItHasTakenNothingForALease(t *testing.T) {
	q := queue.New(queue.Options{})
	now := second
	w := joined(q, "w", 10, now)
	for range 2 {
		// The worker is idle.
		now += 2 * int64(queue.DefaultLease)
		q.Tick(now)
		added(t, q, []byte{0, 1}, now)
		began := now
		var said []int64
		for range 3 * queue.DefaultLease / time.Second {
			now += second
			for range q.Tick(now) {
				said = append(said, now-began)
			}
		}
		if len(said) != 1 || said[0] < int64(queue.DefaultLease) || said[0] > int64(queue.DefaultLease)+2*second {
			t.Errorf("it is said after %v, want once, after a lease", said)
		}
		if n := serve(t, q, w, now); n != 1 {
			t.Errorf("it took %d when it took something again", n)
		}
	}
}
