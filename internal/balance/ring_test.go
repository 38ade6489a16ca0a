package balance

import (
	"math"
	"slices"
	"testing"
	"time"
)

func keyed(hash uint64) Key { return Key{Hash: hash, Set: true} }

func TestAKeyKeepsToItsInstance(t *testing.T) {
	for _, o := range []GroupOptions{{Policy: Hash}, {Policy: P2C}, {Policy: RoundRobin}} {
		s, g := fresh(o, 50)
		t2 := new(Set[int])
		other := t2.Group(nil, o, 0)
		reversed := items(50)
		slices.Reverse(reversed)
		t2.Update(reversed, nil, 0)
		got := make([]int, 50)
		for key := range uint64(50 * 200) {
			a, _ := g.Pick(0, nil, keyed(key))
			b, _ := g.Pick(0, nil, keyed(key))
			c, _ := other.Pick(0, nil, keyed(key))
			if a != b || a.Key() != c.Key() {
				t.Fatalf("key %d is at %s, then at %s, in another process at %s", key, a.Key(), b.Key(), c.Key())
			}
			got[a.Value()]++
		}
		// The places are even to 1/1300, not exactly, so the bound is wider.
		if x := chiSquared(got); x > tooUneven(50)+50 {
			t.Fatalf("sequential keys are uneven: χ² = %.1f", x)
		}
		e, _ := s.Lookup("7")
		before := g.ring.Load()
		s.Update([]Item[int]{{Key: "7", Value: 700}}, nil, 0)
		for key := range uint64(1000) {
			if p, _ := g.Pick(0, nil, keyed(key)); p == e {
				t.Fatal("picked the endpoint of the old value")
			}
		}
		if g.ring.Load() != before {
			t.Fatal("a new value made a new table")
		}
	}
}

func TestATableIsMadeForKeyedPicksOnly(t *testing.T) {
	s, g := fresh(GroupOptions{Policy: Hash}, 10)
	if counts(t, g, 0, nil, 10, 100); g.ring.Load() != nil {
		t.Fatal("there is a table without a keyed pick")
	}
	g.Pick(0, nil, keyed(1))
	first := g.ring.Load()
	s.Update(nil, []string{"4"}, 0)
	if g.ring.Load() != first {
		t.Fatal("an update made a table")
	}
	g.Pick(0, nil, keyed(1))
	second := g.ring.Load()
	if second == first || second.weights != 9 || len(second.seen) != 9 {
		t.Fatal("the table was not made anew")
	}
	s.Update([]Item[int]{{Key: "3", Value: 3, Weight: 2}}, nil, 0)
	g.Pick(0, nil, keyed(1))
	if third := g.ring.Load(); third == second || third.weights != 10 {
		t.Fatal("the table was not made anew for a weight")
	}
}

func TestWhileATableIsMadeTheLastOneStands(t *testing.T) {
	s, g := fresh(GroupOptions{Policy: Hash}, 10)
	g.Pick(0, nil, keyed(1))
	g.building.Lock()
	defer g.building.Unlock()
	s.Update(nil, []string{"0", "1", "2"}, 0)
	for key := range uint64(1000) {
		if e, ok := g.Pick(0, nil, keyed(key)); !ok || e.Value() < 3 {
			t.Fatalf("Pick = %v, %v", e, ok)
		}
	}
	s.Update(items(1), []string{"3", "4", "5", "6", "7", "8", "9"}, 0)
	if e, ok := g.Pick(0, nil, keyed(1)); !ok || e.Value() != 0 {
		t.Fatalf("Pick = %v, %v, want one that is not in the table", e, ok)
	}
}

func TestTheTableOfALargeGroupStandsForAWhile(t *testing.T) {
	s, g := fresh(GroupOptions{Policy: Hash}, RingFree+1)
	start := int64(time.Hour)
	first, _ := g.Pick(start, nil, keyed(1))
	table := g.ring.Load()
	s.Update(nil, []string{first.Key()}, start)
	next, ok := g.Pick(start+int64(RingEvery)-1, nil, keyed(1))
	if g.ring.Load() != table || !ok || next == first {
		t.Fatalf("Pick = %v, %v, table made anew: %v", next, ok, g.ring.Load() != table)
	}
	for _, later := range []int64{start + int64(RingEvery), start - 1} {
		g.ring.Store(table)
		if g.Pick(later, nil, keyed(1)); g.ring.Load() == table {
			t.Fatalf("at %d the table still stands", later-start)
		}
	}
}

func TestNoInstanceIsLoadedFarAboveTheAverage(t *testing.T) {
	for _, n := range []int{2, 8, 50} {
		s, g := fresh(GroupOptions{Policy: Hash}, n)
		calls := 40 * n
		for range calls {
			e, ok := g.Pick(0, nil, keyed(42))
			if !ok {
				t.Fatal("nothing picked")
			}
			e.Begin(0)
		}
		bound := int64(math.Ceil(LoadFactor * float64(calls) / float64(n)))
		for _, e := range endpoints(t, s, n) {
			if got := e.InFlight(); got > bound {
				t.Errorf("of %d, one has %d calls in flight, want at most %d", n, got, bound)
			}
		}
	}
}

func TestTheBoundGoesByWeight(t *testing.T) {
	var s Set[int]
	g := s.Group(nil, GroupOptions{Policy: Hash}, 0)
	s.Update([]Item[int]{{Key: "light"}, {Key: "heavy", Weight: 3}}, nil, 0)
	for key := range uint64(400) {
		e, _ := g.Pick(0, nil, keyed(key))
		e.Begin(0)
	}
	light, _ := s.Lookup("light")
	if got := light.InFlight(); got > 125 || got < 60 {
		t.Fatalf("weight 1 against 3 has %d of 400 calls, want about 100 and at most 125", got)
	}
}

func TestAFullInstanceYieldsToTheNextInTheTable(t *testing.T) {
	s, g := fresh(GroupOptions{Policy: Hash}, 8)
	first, _ := g.Pick(0, nil, keyed(1))
	for range LoadFloor {
		if e, _ := g.Pick(0, nil, keyed(1)); e != first {
			t.Fatalf("the key left an instance with %d calls in flight", first.InFlight())
		}
		first.Begin(0)
	}
	next, _ := g.Pick(0, nil, keyed(1))
	if next == first {
		t.Fatal("one call more went to the full one")
	}
	first.Abandon()
	if e, _ := g.Pick(0, nil, keyed(1)); e != first {
		t.Fatal("the key did not come back")
	}
	first.Bar(1)
	if e, _ := g.Pick(0, nil, keyed(1)); e != next {
		t.Fatal("barred, it yields to another than when full")
	}
	first.Unbar()
	var tried Tried[int]
	tried.Add(first)
	if e, _ := g.Pick(0, &tried, keyed(1)); e != next {
		t.Fatal("tried, it yields to another than when full")
	}
	s.Update(nil, []string{first.Key()}, 0)
	if e, ok := g.Pick(0, nil, keyed(1)); !ok || e == first {
		t.Fatal("picked one that left")
	}
}

func TestAKeyFindsTheOneThatIsLeft(t *testing.T) {
	s, g := fresh(GroupOptions{Policy: Hash}, 500)
	all := endpoints(t, s, 500)
	for i, e := range all {
		if i != 321 {
			e.Bar(1)
		}
	}
	// The calls in flight exceed any bound on the load.
	for range 2 * LoadFloor {
		all[321].Begin(0)
	}
	for key := range uint64(200) {
		if e, ok := g.Pick(0, nil, keyed(key)); !ok || e != all[321] {
			t.Fatalf("Pick = %v, %v", e, ok)
		}
	}
}

func TestASurveyCatchesUp(t *testing.T) {
	const n = 100
	s, g := fresh(GroupOptions{Policy: Hash}, n)
	g.Pick(0, nil, keyed(1))
	v, r := g.view.Load(), g.ring.Load()
	for _, e := range endpoints(t, s, n) {
		e.Begin(0)
		e.Begin(0)
	}
	for range n/surveyed + 1 {
		r.survey(v)
	}
	if got := r.survey(v); got != 2*n {
		t.Fatalf("counted %d calls in flight, want %d", got, 2*n)
	}
}
