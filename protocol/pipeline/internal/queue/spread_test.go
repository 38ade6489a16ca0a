package queue_test

import (
	"slices"
	"testing"

	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// TestWhatWaitsForAWorkerGoesToOneThatIsFreeAtOnce checks that tasks that wait for a worker's writer go
// at once to a worker that is free, as many as go there in a frame.
func TestWhatWaitsForAWorkerGoesToOneThatIsFreeAtOnce(t *testing.T) {
	const slots = 4
	for name, c := range map[string]struct{ size, want int }{"small tasks": {2, slots}, "one that goes in parts": {10 * short, 1}} {
		t.Run(name, func(t *testing.T) {
			q := queue.New(queue.Options{})
			now := second
			w := joined(q, "w", 16, now)
			long(t, q, now)
			if got := taken(t, q, w, now); len(got) != 1 {
				t.Fatalf("took %v", got)
			}
			for range 2 * slots {
				added(t, q, make([]byte, c.size), now)
			}
			// This Tick checks the leases.
			now += second / 2
			q.Tick(now)
			other := joined(q, "other", slots, now)
			began := now
			for inFlight(q, "other", now) == 0 {
				if now = q.Next(); now == 0 || now-began >= second/2 {
					t.Fatal("it is not looked at sooner than leases are")
				}
				q.Tick(now)
			}
			if n := inFlight(q, "other", now); n != c.want {
				t.Errorf("it was given %d, want %d", n, c.want)
			}
			if n := len(taken(t, q, other, now)); n != c.want {
				t.Errorf("it took %d, want %d", n, c.want)
			}
			if err := q.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWhatWaitsForAWorkerGoesToAnotherThoughMoreComes checks that a long task that waits for a worker
// goes to another one, although a short task has come for that worker meanwhile.
func TestWhatWaitsForAWorkerGoesToAnotherThoughMoreComes(t *testing.T) {
	q := queue.New(queue.Options{})
	now := second
	w := joined(q, "w", 16, now)
	long(t, q, now)
	waits := long(t, q, now)
	taken(t, q, w, now)
	now += second
	added(t, q, []byte{0, 1}, now)
	other := joined(q, "other", 16, now)
	q.Tick(now)
	if got := taken(t, q, other, now); !slices.Equal(got, []uint64{waits.Seq}) {
		t.Errorf("the other one took %v, want %d", got, waits.Seq)
	}
	if err := q.Check(); err != nil {
		t.Error(err)
	}
}

// TestTasksAreRecalledThoughOthersBehindThemAreNotSent checks that short tasks of one worker are recalled
// for another one that cannot take long ones now, although unsent tasks are behind them.
func TestTasksAreRecalledThoughOthersBehindThemAreNotSent(t *testing.T) {
	q := queue.New(queue.Options{})
	now := second
	w := joined(q, "w", 1, now)
	var small []uint64
	for range 4 {
		small = append(small, added(t, q, []byte{0, 1}, now).Seq)
	}
	if got := taken(t, q, w, now); !slices.Equal(got, small) {
		t.Fatalf("took %v", got)
	}
	parts := long(t, q, now)
	if got := taken(t, q, w, now); !slices.Equal(got, []uint64{parts.Seq}) {
		t.Fatalf("took %v", got)
	}
	for range 2 {
		long(t, q, now)
	}
	other := joined(q, "other", 10, now)
	now += tick
	q.Tick(now)
	// This is one of the two long tasks. The other one still waits.
	if got := taken(t, q, other, now); len(got) != 1 {
		t.Fatalf("the other one took %v", got)
	}
	now += tick
	taken(t, q, other, now)
	q.Tick(now)
	recalls, _ := q.TakeOrders(w, nil, nil)
	if want := []uint64{small[3], small[2], small[1]}; !slices.Equal(recalls, want) {
		t.Errorf("recalled %v, want %v, all but the one that it runs", recalls, want)
	}
	if err := q.Check(); err != nil {
		t.Error(err)
	}
}
