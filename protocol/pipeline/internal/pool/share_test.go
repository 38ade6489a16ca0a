package pool

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		total  int
		demand []int
		turn   int
		want   []int
	}{
		{10, []int{100}, 0, []int{10}},
		// What nobody demands is given out all the same.
		{10, []int{0}, 0, []int{10}},
		{10, []int{100, 0}, 0, []int{10, 0}},
		{10, []int{2, 100, 100}, 0, []int{2, 4, 4}},
		{3, []int{9, 9, 9, 9}, 0, []int{1, 1, 1, 0}},
		{3, []int{9, 9, 9, 9}, 3, []int{1, 1, 0, 1}},
		{2, []int{0, 5, 0, 5}, 0, []int{0, 1, 0, 1}},
		{0, []int{5, 5}, 0, []int{0, 0}},
		{8, nil, 0, []int{}},
	} {
		if got, _ := split(tt.total, tt.demand, tt.turn); !slices.Equal(got, tt.want) {
			t.Errorf("split(%d, %v, %d) = %v, want %v", tt.total, tt.demand, tt.turn, got, tt.want)
		}
	}
}

func TestSplitIsMaxMinFair(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		demand := make([]int, 1+r.IntN(8))
		wanted := 0
		for i := range demand {
			demand[i] = r.IntN(20)
			wanted += demand[i]
		}
		total := r.IntN(60)
		got, _ := split(total, demand, r.IntN(8))
		sum := 0
		for i, a := range got {
			sum += a
			for j, b := range got {
				if a < demand[i] && b > a+1 {
					t.Fatalf("split(%d, %v) = %v: %d has less than it wants, and %d has more", total, demand, got, i, j)
				}
			}
		}
		if sum > total || sum < min(total, wanted) {
			t.Fatalf("split(%d, %v) = %v, which is %d", total, demand, got, sum)
		}
	}
}

// one makes a pool with one source that has a window, and sends tasks from that source.
func one(t *testing.T, opts Options, tasks int) (*Pool, *Source) {
	t.Helper()
	p := New(opts)
	s, answer, err := p.Join(Hello{From: share.Key{Name: "peer"}, Queue: "queue", Fence: 1000, Held: []uint64{4, 5}}, 1)
	if err != nil || !slices.Equal(answer.Unknown, []uint64{4, 5}) {
		t.Fatal(answer, err)
	}
	p.Take(s, nil, 1)
	send(t, p, s, 1, tasks, 1)
	return p, s
}

func send(t *testing.T, p *Pool, s *Source, first, n int, delivery uint64) {
	t.Helper()
	var b []byte
	for i := range n {
		rec := frame.Task{Seq: uint64(first + i), Delivery: delivery, Attempt: 1, Fence: 7, Left: -1, Start: -1, Body: []byte{0, 1}}
		b = rec.Append(b)
	}
	if err := p.Receive(s, b, 2, 2); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
}

func outcomes(t *testing.T, p *Pool, s *Source) (out []frame.Outcome) {
	t.Helper()
	var o frame.Outcome
	for b := p.Take(s, nil, 3).Outcomes; len(b) > 0; {
		rest, err := o.Cut(b)
		if err != nil {
			t.Fatal(err)
		}
		out, b = append(out, o), rest
	}
	return out
}

func TestAFinishedTaskIsNotDoneAgain(t *testing.T) {
	p, s := one(t, Options{Slots: 4}, 2)
	tasks := p.Begin(nil, 3)
	if len(tasks) != 1 || tasks[0].Fence != 1007 {
		t.Fatalf("began %v", tasks)
	}
	p.Done(tasks[0], frame.Outcome{Verb: frame.Result, Data: []byte("x")}, 4)
	p.Free()
	outcomes(t, p, s)
	// The producer has not received the outcome.
	send(t, p, s, 1, 2, 2)
	if got := outcomes(t, p, s); len(got) != 1 || got[0].Verb != frame.Result || got[0].Delivery != 2 || string(got[0].Data) != "x" {
		t.Errorf("outcomes %+v", got)
	}
	if len(p.Begin(nil, 5)) != 1 || len(p.Begin(nil, 5)) != 0 {
		t.Error("task 2 runs not once")
	}
	ready := s.ready
	p.Leave(s, ready, 6, 6)
	if _, answer, err := p.Join(Hello{From: share.Key{Name: "peer"}, Queue: "queue", Fence: 1000, Held: []uint64{1, 2, 3}}, 7); err != nil || !slices.Equal(answer.Unknown, []uint64{3}) {
		t.Errorf("of 1, 2 and 3 it does not know %v, %v", answer.Unknown, err)
	}
	if got := outcomes(t, p, s); len(got) != 1 || got[0].Seq != 1 {
		t.Errorf("outcomes %+v", got)
	}
	later := int64(DefaultCacheTime) + 10
	p.Leave(s, s.ready, later, later)
	if _, answer, err := p.Join(Hello{From: share.Key{Name: "peer"}, Queue: "queue", Fence: 1000, Held: []uint64{1}}, later); err != nil || len(answer.Unknown) != 1 {
		t.Errorf("after the window it does not know %v, %v", answer.Unknown, err)
	}
}

func TestRecallAndCancelOfWhatRuns(t *testing.T) {
	p, s := one(t, Options{Slots: 2}, 2)
	p.Begin(nil, 3)
	p.Recall(s, []uint64{1, 2, 99}, 4)
	got := outcomes(t, p, s)
	if len(got) != 2 || got[0].Verb != frame.Started || got[1].Verb != frame.Release || got[1].Seq != 2 {
		t.Errorf("outcomes %+v", got)
	}
	if over := p.Cancel(nil, s, []uint64{1, 2}, 5); len(over) != 1 || over[0].Seq != 1 {
		t.Errorf("to be canceled: %v", over)
	}
}

// TestATaskOfABatchTakesItsPartOfTheTime checks that the service time of a batch is divided among its
// tasks, even when it is measured for the first time.
func TestATaskOfABatchTakesItsPartOfTheTime(t *testing.T) {
	const batch = 10
	p, _ := one(t, Options{Slots: 1, Batch: batch}, batch)
	for _, task := range p.Begin(nil, 3) {
		p.Done(task, frame.Outcome{Verb: frame.Ack}, 3+int64(batch*time.Millisecond))
	}
	if got := p.State().Service; got != time.Millisecond {
		t.Errorf("a task of a batch of %d that took %v counts as %v, want %v", batch, batch*time.Millisecond, got, time.Millisecond)
	}
}

func TestPrefetchFollowsRoundTripAndServiceTime(t *testing.T) {
	for _, tt := range []struct {
		trip, service time.Duration
		want          int
	}{
		{time.Millisecond, time.Second, 4 + 1},
		{10 * time.Millisecond, 10 * time.Millisecond, 4 + 4},
		{10 * time.Millisecond, time.Millisecond, 4 + 40},
		{10 * time.Millisecond, time.Microsecond, 4 + MaxPrefetch},
	} {
		p, s := one(t, Options{Slots: 4}, 1)
		task := p.Begin(nil, 3)[0]
		p.Done(task, frame.Outcome{Verb: frame.Ack}, 3+int64(tt.service))
		p.Free()
		s.pingDue = true
		p.Take(s, nil, 5000)
		p.Pong(s, 5, 5000+int64(tt.trip))
		if got := p.windows(); got != tt.want {
			t.Errorf("round trip %v, service %v: window %d, want %d", tt.trip, tt.service, got, tt.want)
		}
	}
}

func TestOneIdentityHasOnlySoManyQueues(t *testing.T) {
	p := New(Options{})
	for i := range MaxSources {
		if _, _, err := p.Join(Hello{From: share.Key{Name: "peer"}, Queue: string(rune('a' + i))}, 1); err != nil {
			t.Fatal(i, err)
		}
	}
	if _, _, err := p.Join(Hello{From: share.Key{Name: "peer"}, Queue: "one more"}, 1); err == nil {
		t.Error("one more was taken")
	}
	if _, _, err := p.Join(Hello{From: share.Key{Name: "other"}, Queue: "q"}, 1); err != nil {
		t.Error(err)
	}
}

// TestATaskHasTheWindowThatHeldWhenItBeganToCome checks that the window at a task's first part counts,
// however long the other parts take.
func TestATaskHasTheWindowThatHeldWhenItBeganToCome(t *testing.T) {
	const second = int64(time.Second)
	p, s := one(t, Options{Slots: 1}, 0)
	s.grant(0, 10*second)
	if w := p.Take(s, nil, 10*second); !w.Window || w.Tasks != 0 {
		t.Fatalf("the window is %d", w.Tasks)
	}
	for i, tt := range []struct {
		since, now int64
		held       bool
	}{{9 * second, 60 * second, true}, {60 * second, 60 * second, false}} {
		if err := p.Receive(s, frameOf(uint64(i)+1, 1, 1, false), tt.since, tt.now); err != nil {
			t.Fatal(err)
		}
		if held := s.held.Get(uint64(i)+1) != nil; held != tt.held {
			t.Errorf("a task that came from %d s on is held: %v, want %v", tt.since/second, held, tt.held)
		}
		p.Recall(s, []uint64{1}, 60*second)
	}
}
