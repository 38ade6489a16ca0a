package balance

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/linkmesh/link/internal/hash"
)

// vectorOf returns the slots as a vector.
func vectorOf(slots ...slot) vector[slot] {
	var w editor[slot]
	for _, s := range slots {
		w.push(s)
	}
	return w.share()
}

func plain() slot { return slot{load: new(load), perWeight: 1} }

func TestEqualLoadsAreSpreadEvenly(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 100} {
		_, g := fresh(GroupOptions{}, n)
		got := counts(t, g, 0, nil, n, 2000*n)
		if x := chiSquared(got); x > tooUneven(n) {
			t.Errorf("%d endpoints: χ² = %.1f, want below %.1f: %v", n, x, tooUneven(n), got)
		}
	}
}

func TestRetriesAreSpreadEvenlyOverTheRest(t *testing.T) {
	const n = 10
	s, g := fresh(GroupOptions{}, n)
	all := endpoints(t, s, n)
	var tried Tried[int]
	tried.Add(all[3])
	tried.Add(all[7])
	got := counts(t, g, 0, &tried, n, 20000)
	if got[3]+got[7] != 0 {
		t.Fatalf("tried endpoints were picked: %v", got)
	}
	rest := slices.Concat(got[:3], got[4:7], got[8:])
	if x := chiSquared(rest); x > tooUneven(len(rest)) {
		t.Fatalf("χ² = %.1f, want below %.1f: %v", x, tooUneven(len(rest)), got)
	}
}

func TestThoseLeftShareEvenlyWhenMostAreOut(t *testing.T) {
	// So few instances are left that most picks end in a walk.
	const n, left = 400, 4
	s, g := fresh(GroupOptions{Subset: -1}, n)
	for i, e := range endpoints(t, s, n) {
		if i%(n/left) != 0 {
			e.Bar(1)
		}
	}
	all := counts(t, g, 0, nil, n, 20000)
	var got []int
	for i := 0; i < n; i += n / left {
		got = append(got, all[i])
	}
	if slices.Min(got) < 20000/left*3/4 {
		t.Fatalf("of 20000 picks those left had %v", got)
	}
}

func TestNothingToPick(t *testing.T) {
	s, g := fresh(GroupOptions{}, 3)
	var everyone Tried[int]
	for _, e := range endpoints(t, s, 3) {
		everyone.Add(e)
	}
	_, empty := fresh(GroupOptions{}, 0)
	_, one := fresh(GroupOptions{}, 1)
	barred, no := fresh(GroupOptions{}, 2)
	for _, e := range endpoints(t, barred, 2) {
		e.Bar(1)
	}
	only := s.Group(func(v int) bool { return v == 1 }, GroupOptions{}, 0)
	tests := []struct {
		name  string
		group *Group[int]
		tried *Tried[int]
		now   int64
	}{
		{"empty", empty, nil, 0},
		{"empty, on a retry", empty, &everyone, 0},
		{"all barred", no, nil, 0},
		{"all tried", g, &everyone, 0},
		{"the only one tried", only, &everyone, 0},
	}
	for _, tt := range tests {
		for _, key := range []Key{{}, {Hash: 1, Set: true}} {
			if e, ok := tt.group.Pick(tt.now, tt.tried, key); ok || e != nil {
				t.Errorf("%s: Pick = %v, %v; want nothing", tt.name, e, ok)
			}
		}
	}
	if _, ok := one.Pick(0, &everyone, Key{}); !ok {
		t.Error("what was tried in another set is tried here")
	}
	if _, ok := no.Pick(1, nil, Key{}); !ok {
		t.Error("nothing is picked once the bars are over")
	}
}

func TestTriedIsNeverPickedWhileAnotherExists(t *testing.T) {
	for n := 1; n <= MaxTried+3; n++ {
		_, g := fresh(GroupOptions{}, n)
		for range 200 {
			var tried Tried[int]
			for attempt := range min(n, MaxTried+1) {
				e, ok := g.Pick(0, &tried, Key{})
				if !ok || tried.Has(e) {
					t.Fatalf("%d endpoints, attempt %d: picked %v, %v", n, attempt, e, ok)
				}
				tried.Add(e)
			}
		}
	}
}

func TestTriedBeyondItsBoundForgetsTheFirst(t *testing.T) {
	s, _ := fresh(GroupOptions{}, MaxTried+1)
	all := endpoints(t, s, MaxTried+1)
	var tried Tried[int]
	for _, e := range all {
		tried.Add(e)
		tried.Add(e)
	}
	if tried.Len() != MaxTried || tried.Has(all[0]) || !tried.Has(all[1]) || !tried.Has(all[MaxTried]) {
		t.Fatalf("Len = %d, first %v, last %v", tried.Len(), tried.Has(all[0]), tried.Has(all[MaxTried]))
	}
	tried.Reset()
	if tried.Len() != 0 || tried.Has(all[1]) {
		t.Fatal("Reset left something")
	}
}

// TestAChoiceInspectsOnlyWhatItDraws checks that a choice inspects the drawn slots
// only. The load of every other slot is nil, so that inspecting it would panic.
func TestAChoiceInspectsOnlyWhatItDraws(t *testing.T) {
	const n = 10000
	var slots editor[slot]
	for range n {
		slots.push(slot{})
	}
	for tries := range MaxTried + 1 {
		for range 20 {
			r := rand.Uint64()
			first, second := drawPair(n, r)
			drawn := []int{first, second}
			slots.set(first, plain())
			slots.set(second, plain())
			var avoided []*load
			if tries > 0 {
				avoided = append(avoided, slots.at(first).load)
			}
			d := draws{size: n, state: r}
			d.take(first)
			d.take(second)
			for k := range tries {
				i, ok := d.next()
				if !ok {
					// MaxDraws slots have been drawn.
					break
				}
				drawn = append(drawn, i)
				slots.set(i, plain())
				if k > 0 {
					avoided = append(avoided, slots.at(i).load)
				}
			}
			terms := &terms{avoided: avoided}
			if i := choose(slots.vector, terms, r); i < 0 || slices.Contains(avoided, slots.at(i).load) {
				t.Fatalf("choose after %d tries = %d", tries, i)
			}
			for _, i := range drawn {
				slots.set(i, slot{})
			}
		}
	}
}

func TestAChoiceInspectsNoMoreThanAreOut(t *testing.T) {
	const n = 1000
	slots := make([]slot, n)
	for i := range slots {
		slots[i] = plain()
		slots[i].load.barred.Store(1)
		slots[i].load.reclassify()
	}
	v := vectorOf(slots...)
	if i := choose(v, &terms{}, 1); i != -1 {
		t.Fatalf("choose = %d though all are barred", i)
	}
	slots[123].load.barred.Store(0)
	slots[123].load.reclassify()
	for r := range uint64(100) {
		if i := choose(v, &terms{}, r); i != 123 {
			t.Fatalf("choose = %d, want the one that is left", i)
		}
	}
}

func TestAChoiceFollowsFromItsRandomWord(t *testing.T) {
	slots := make([]slot, 100)
	for i := range slots {
		slots[i] = plain()
		slots[i].load.ramped.Store(int64(i % 3 * 50))
		slots[i].load.ejected.Store(int64(i % 5 * 50))
		slots[i].load.reclassify()
	}
	v := vectorOf(slots...)
	for range 1000 {
		r, avoided := rand.Uint64(), []*load{slots[rand.IntN(100)].load}
		x := choose(v, &terms{now: 60, slowStart: 100, avoided: avoided}, r)
		if y := choose(v, &terms{now: 60, slowStart: 100, avoided: avoided}, r); x != y {
			t.Fatalf("choose = %d, then %d", x, y)
		}
	}
}

func TestDrawsAreDistinctAndComplete(t *testing.T) {
	for size := range MaxDraws + 1 {
		d := draws{size: size, state: rand.Uint64()}
		seen := make([]bool, size)
		for range size {
			i, ok := d.next()
			if !ok || seen[i] {
				t.Fatalf("size %d: draw %d, %v, after %v", size, i, ok, seen)
			}
			seen[i] = true
		}
		if i, ok := d.next(); ok {
			t.Fatalf("size %d: one draw too many: %d", size, i)
		}
	}
}

func TestAWalkVisitsAllOnce(t *testing.T) {
	for size := 2; size < 200; size++ {
		d := draws{state: rand.Uint64()}
		w := newWalk(size, &d)
		seen := make([]bool, size)
		for range size {
			i, ok := w.next()
			if !ok || seen[i] {
				t.Fatalf("size %d: step to %d, %v, after %v", size, i, ok, seen)
			}
			seen[i] = true
		}
		if _, ok := w.next(); ok {
			t.Fatalf("size %d: one step too many", size)
		}
	}
}

func TestPairsAreDistinctAtTheEdges(t *testing.T) {
	for _, n := range []int{2, 3, 10000} {
		for _, r := range []uint64{0, 1, 1<<32 - 1, 1 << 32, 1<<64 - 1, 0xffffffff << 32} {
			a, b := drawPair(n, r)
			if a == b || min(a, b) < 0 || max(a, b) >= n {
				t.Errorf("drawPair(%d, %x) = %d, %d", n, r, a, b)
			}
		}
	}
}

func TestTheOneWithFewerCallsInFlightWins(t *testing.T) {
	s, g := fresh(GroupOptions{}, 2)
	all := endpoints(t, s, 2)
	all[0].Begin(0)
	for range 100 {
		if e, _ := g.Pick(0, nil, Key{}); e != all[1] {
			t.Fatal("picked the busy one")
		}
	}
	all[0].Abandon()
	if all[0].InFlight() != 0 || all[0].Latency(0) != 0 {
		t.Fatal("Abandon left a trace")
	}
}

func TestWeightScalesTheShare(t *testing.T) {
	var s Set[int]
	g := s.Group(nil, GroupOptions{}, 0)
	s.Update([]Item[int]{{Key: "light"}, {Key: "heavy", Weight: 3}}, nil, 0)
	const calls = 400
	// Calls that never end accumulate in proportion to the weights.
	for range calls {
		e, _ := g.Pick(0, nil, Key{})
		e.Begin(0)
	}
	heavy, _ := s.Lookup("heavy")
	if got := heavy.InFlight(); got < calls*3/4-2 || got > calls*3/4+2 {
		t.Fatalf("weight 3 against 1 has %d of %d calls in flight, want three quarters", got, calls)
	}
}

func TestCallsInFlightCountForMoreWhileTheShareGrows(t *testing.T) {
	young, old := plain(), plain()
	young.load.ramped.Store(50)
	young.load.reclassify()
	young.load.inflight.Store(4)
	old.load.inflight.Store(6)
	v := vectorOf(young, old)
	// With a share of 0.55, 4 calls in flight count as 7.3.
	for r := range uint64(1000) {
		if i := choose(v, &terms{slowStart: 100}, hash.SplitMix(r)); i != 1 {
			t.Fatal("the one that starts was picked")
		}
	}
}
