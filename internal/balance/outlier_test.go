package balance

import (
	"testing"
	"time"
)

const second = int64(time.Second)

// fail has n calls fail at now.
func fail(e *Endpoint[int], n int, now int64) {
	for range n {
		end(e, now, 1, true)
	}
}

func TestFailuresInARowEject(t *testing.T) {
	s, g := fresh(GroupOptions{}, 10)
	all := endpoints(t, s, 10)
	fail(all[0], 4, second)
	end(all[0], second, 1, false)
	fail(all[0], 4, second)
	if _, ok := all[0].Ejected(second); ok {
		t.Fatal("a success between failures does not count")
	}
	fail(all[0], 1, second)
	if until, ok := all[0].Ejected(second); !ok || until != 31*second {
		t.Fatalf("after five failures in a row: Ejected = %d, %v; want until 31 s", until, ok)
	}
	if got := counts(t, g, second, nil, 10, 5000); got[0] != 0 {
		t.Fatalf("just ejected, it got %d picks", got[0])
	}
	if got := counts(t, g, 31*second-1, nil, 10, 5000); got[0] != 1 {
		t.Fatalf("ejected, it got %d picks, want one as a probe", got[0])
	}
	if available, total := g.Health(31*second - 1); available != 9 || total != 10 {
		t.Fatalf("Health = %d of %d, want 9 of 10", available, total)
	}
	if available, _ := g.Health(31 * second); available != 10 {
		t.Fatalf("at the end %d are available", available)
	}
	if _, ok := all[0].Ejected(31 * second); ok {
		t.Fatal("still ejected at the end")
	}
}

func TestEachEjectionInARowLastsLonger(t *testing.T) {
	s, _ := fresh(GroupOptions{}, 1)
	e := endpoints(t, s, 1)[0]
	now := int64(0)
	for i := range int64(12) {
		fail(e, DefaultErrors, now)
		until, ok := e.Ejected(now)
		if want := min((i+1)*30*second, int64(MaxEject)); !ok || until-now != want {
			t.Fatalf("ejection %d lasts %v, want %v", i+1, time.Duration(until-now), time.Duration(want))
		}
		// Calls that were in flight at the ejection fail after it.
		fail(e, 100, now)
		if again, _ := e.Ejected(now); again != until {
			t.Fatal("failures while ejected made it longer")
		}
		now = until
	}
}

func TestTimeInHealthMakesUpForEjections(t *testing.T) {
	s, _ := fresh(GroupOptions{}, 1)
	e := endpoints(t, s, 1)[0]
	fail(e, 5, 0)
	// The second ejection lasts until 90 s.
	fail(e, 5, 30*second)
	for _, tt := range []struct {
		healthy, lasts int64
	}{
		// There were two ejections, the time in health makes up for one, and this is one more.
		{10 * second, 60 * second},
		{9 * second, 90 * second},
		{25 * second, 60 * second},
		{1000 * second, 30 * second},
	} {
		until := e.load.ejected.Load()
		now := until + tt.healthy
		// An update settles the troubles that are due.
		s.Update(nil, nil, now)
		fail(e, 5, now)
		if until, _ := e.Ejected(now); until-now != tt.lasts {
			t.Fatalf("after %v of health it is ejected for %v, want %v", time.Duration(tt.healthy), time.Duration(until-now), time.Duration(tt.lasts))
		}
	}
	s.Update(nil, nil, 1e6*second)
	if n := len(s.ward.troubles); n != 0 || s.ward.next.Load() != 0 {
		t.Fatalf("%d troubles are kept after they are made up for", n)
	}
}

func TestOnlySoManyAreEjected(t *testing.T) {
	for _, tt := range []struct {
		n    int
		max  float64
		want int
	}{{1, 0, 1}, {5, 0, 1}, {19, 0, 1}, {20, 0, 2}, {100, 0, 10}, {10, 0.5, 5}, {10, 0.01, 1}} {
		s, g := fresh(GroupOptions{Subset: -1}, tt.n)
		s.Configure(Options{Outlier: Outlier{Max: tt.max}}, 0)
		all := endpoints(t, s, tt.n)
		for _, e := range all {
			fail(e, 20, 0)
		}
		if available, _ := g.Health(0); tt.n-available != tt.want {
			t.Errorf("of %d that fail %d are ejected, want %d", tt.n, tt.n-available, tt.want)
		}
		// Others may be ejected once the first are back.
		for _, e := range all {
			fail(e, 20, 30*second)
		}
		if available, _ := g.Health(30 * second); tt.n-available != tt.want {
			t.Errorf("of %d that fail %d are ejected after the first are back, want %d", tt.n, tt.n-available, tt.want)
		}
	}
}

func TestOneThatLeftIsNotEjected(t *testing.T) {
	s, g := fresh(GroupOptions{}, 2)
	all := endpoints(t, s, 2)
	fail(all[0], 5, 0)
	all[0].Bar(never)
	s.Update(nil, []string{"0"}, 0)
	fail(all[0], 50, 1e6*second)
	all[0].Bar(never - 1)
	all[0].Unbar()
	if !all[0].Barred(never - 1) {
		t.Fatal("one that left may be picked from an old snapshot")
	}
	if available, total := g.Health(0); available != 1 || total != 1 {
		t.Fatalf("Health = %d of %d, want 1 of 1", available, total)
	}
	if n := len(s.ward.troubles); n != 0 || s.ward.ejected != 0 {
		t.Fatalf("%d troubles and %d ejections of those that left", n, s.ward.ejected)
	}
	fail(all[1], 5, 0)
	if _, ok := all[1].Ejected(0); !ok {
		t.Fatal("one that left takes the place of one that fails")
	}
}

func TestNoEjections(t *testing.T) {
	s, _ := fresh(GroupOptions{}, 2)
	s.Configure(Options{Outlier: Outlier{Errors: -1}}, 0)
	e, _ := s.Lookup("0")
	fail(e, 1000, 0)
	if _, ok := e.Ejected(0); ok {
		t.Fatal("ejected")
	}
}

func TestInPanicEjectionsAreNotHeededButBarsAre(t *testing.T) {
	for _, key := range []Key{{}, {Set: true}} {
		s, g := fresh(GroupOptions{}, 10)
		s.Configure(Options{Outlier: Outlier{Max: 1}}, 0)
		all := endpoints(t, s, 10)
		picked := func() (values [10]bool) {
			for i := range uint64(2000) {
				e, ok := g.Pick(0, nil, Key{Hash: i, Set: key.Set})
				if !ok {
					t.Fatal("nothing picked")
				}
				values[e.Value()] = true
			}
			return values
		}
		for _, e := range all[:5] {
			fail(e, 5, 0)
		}
		if got := picked(); got != [10]bool{5: true, 6: true, 7: true, 8: true, 9: true} {
			t.Fatalf("with half of them available: picked %v", got)
		}
		all[9].Bar(1)
		if got := picked(); got != [10]bool{true, true, true, true, true, true, true, true, true} {
			t.Fatalf("with less than half of them available: picked %v", got)
		}
		all[9].Unbar()
		if got := picked(); got != [10]bool{5: true, 6: true, 7: true, 8: true, 9: true} {
			t.Fatalf("with half of them available again: picked %v", got)
		}
	}
}

func TestAnEjectedOneIsTheLastResort(t *testing.T) {
	s, g := fresh(GroupOptions{Panic: -1}, 2)
	all := endpoints(t, s, 2)
	fail(all[0], 5, 0)
	var tried Tried[int]
	tried.Add(all[1])
	for _, key := range []Key{{}, {Set: true}} {
		if e, ok := g.Pick(0, nil, key); !ok || e != all[1] {
			t.Fatalf("Pick = %v, %v, want the other", e, ok)
		}
		if e, ok := g.Pick(0, &tried, key); !ok || e != all[0] {
			t.Fatalf("with the other tried: Pick = %v, %v, want the ejected one", e, ok)
		}
	}
}

func TestABarIsKeptUntilItEnds(t *testing.T) {
	s, g := fresh(GroupOptions{}, 2)
	all := endpoints(t, s, 2)
	all[0].Bar(10)
	// A bar that ends earlier does not shorten the first one.
	all[0].Bar(5)
	s.Update([]Item[int]{{Key: "0", Value: 70}}, nil, 0)
	e, _ := s.Lookup("0")
	if !e.Barred(9) || !all[0].Barred(9) || e.Barred(10) {
		t.Fatal("a bar is the instance's, until 10")
	}
	if available, _ := g.Health(9); available != 1 {
		t.Fatalf("%d are available at 9", available)
	}
	if available, _ := g.Health(10); available != 2 {
		t.Fatalf("%d are available at 10", available)
	}
	e.Bar(20)
	e.Unbar()
	e.Unbar()
	if available, _ := g.Health(11); available != 2 || e.Barred(11) {
		t.Fatalf("%d are available once the bar is lifted", available)
	}
	e.Bar(30)
	// The instance is now ejected as well, and must be counted once.
	fail(e, 5, 12)
	if available, _ := g.Health(12); available != 1 {
		t.Fatalf("%d are available", available)
	}
	if available, _ := g.Health(30); available != 1 {
		t.Fatalf("%d are available after the bar, before the end of the ejection", available)
	}
	if available, _ := g.Health(12 + 30*second); available != 2 {
		t.Fatalf("%d are available after both", available)
	}
}
