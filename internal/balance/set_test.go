package balance

import (
	"maps"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"
)

// members returns the values of g by key.
func members(g *Group[int]) map[string]int {
	out := make(map[string]int)
	for e := range g.Members() {
		out[e.Key()] = e.Value()
	}
	return out
}

func TestStateSurvivesUpdates(t *testing.T) {
	s, g := fresh(GroupOptions{}, 3)
	before, _ := s.Lookup("1")
	before.Begin(0)
	before.Begin(0)
	before.End(0, int64(time.Second), Answered)

	removed := s.Update([]Item[int]{{Key: "1", Value: 100, Weight: 5, Zone: "z"}, {Key: "3", Value: 3}}, []string{"0", "unknown"}, 0)
	if len(removed) != 1 || removed[0].Key() != "0" {
		t.Fatalf("removed %v, want the endpoint of 0", removed)
	}
	after, ok := s.Lookup("1")
	if !ok || after == before {
		t.Fatal("a changed value must make a new endpoint")
	}
	if after.Value() != 100 || after.Weight() != 5 || after.Zone() != "z" || before.Value() != 1 || before.Weight() != 1 || before.Zone() != "" {
		t.Fatalf("after %d, %d, %q; before %d, %d, %q", after.Value(), after.Weight(), after.Zone(), before.Value(), before.Weight(), before.Zone())
	}
	if after.InFlight() != 1 || after.Latency(int64(time.Second)) != time.Second {
		t.Fatalf("in flight %d, latency %v: the load was lost", after.InFlight(), after.Latency(int64(time.Second)))
	}
	before.Abandon()
	if after.InFlight() != 0 {
		t.Fatal("a call begun on the old endpoint must end on the new one")
	}
	var tried Tried[int]
	tried.Add(before)
	if !tried.Has(after) {
		t.Fatal("what was tried before the update must stay tried")
	}
	if _, ok := s.Lookup("0"); ok || s.Len() != 3 {
		t.Fatal("a removed key is still known")
	}
	if got := members(g); !maps.Equal(got, map[string]int{"1": 100, "2": 2, "3": 3}) {
		t.Fatalf("members %v", got)
	}
}

func TestAnUnchangedItemKeepsItsEndpoint(t *testing.T) {
	s, g := fresh(GroupOptions{}, 3)
	before, view := endpoints(t, s, 3), g.view.Load()
	// The one allocation is in items.
	if got := testing.AllocsPerRun(10, func() { s.Update(items(3)[:0], nil, 0) }); got != 1 {
		t.Fatalf("an empty update allocates %v times", got-1)
	}
	s.Update(items(3), []string{"unknown"}, 0)
	if !slices.Equal(before, endpoints(t, s, 3)) || g.view.Load() != view {
		t.Fatal("an update that says nothing new changed something")
	}
}

func TestAReturningInstanceStartsAfresh(t *testing.T) {
	s, g := fresh(GroupOptions{}, 2)
	e, _ := s.Lookup("0")
	e.Begin(0)
	e.Bar(never)
	s.Update(items(1), []string{"0"}, 0)
	back, _ := s.Lookup("0")
	if back == e || back.InFlight() != 0 || back.Barred(0) {
		t.Fatal("state outlived its instance")
	}
	if available, total := g.Health(0); available != 2 || total != 2 {
		t.Fatalf("Health = %d of %d, want 2 of 2", available, total)
	}
}

func TestOfTwoItemsWithOneKeyTheLastStands(t *testing.T) {
	s, g := fresh(GroupOptions{}, 0)
	s.Update([]Item[int]{{Key: "a", Value: 1}, {Key: "a", Value: 3}}, nil, 0)
	if e, _ := s.Lookup("a"); e.Value() != 3 || g.Len() != 1 {
		t.Fatalf("a=%d, of %d", e.Value(), g.Len())
	}
}

func TestGroupsFollowTheirMatch(t *testing.T) {
	s, all := fresh(GroupOptions{}, 10)
	even := s.Group(func(v int) bool { return v%2 == 0 }, GroupOptions{}, 0)
	big := s.Group(func(v int) bool { return v >= 100 }, GroupOptions{}, 0)
	if all.Len() != 10 || even.Len() != 5 || big.Len() != 0 {
		t.Fatalf("%d, %d and %d members", all.Len(), even.Len(), big.Len())
	}
	if _, ok := big.Pick(0, nil, Key{}); ok {
		t.Fatal("picked from nobody")
	}
	e, _ := s.Lookup("2")
	e.Bar(10)
	s.Update([]Item[int]{{Key: "2", Value: 101}, {Key: "3", Value: 4}}, []string{"0"}, 0)
	if got := members(even); !maps.Equal(got, map[string]int{"3": 4, "4": 4, "6": 6, "8": 8}) {
		t.Fatalf("even: %v", got)
	}
	if got := members(big); !maps.Equal(got, map[string]int{"2": 101}) {
		t.Fatalf("big: %v", got)
	}
	for _, tt := range []struct {
		g                *Group[int]
		available, total int
	}{{all, 8, 9}, {even, 4, 4}, {big, 0, 1}} {
		if a, n := tt.g.Health(0); a != tt.available || n != tt.total {
			t.Errorf("Health = %d of %d, want %d of %d", a, n, tt.available, tt.total)
		}
	}
	late := s.Group(nil, GroupOptions{}, 0)
	if a, n := late.Health(0); a != 8 || n != 9 {
		t.Errorf("a group made later: Health = %d of %d, want 8 of 9", a, n)
	}
}

func TestAReleasedGroupIsNoLongerUpdated(t *testing.T) {
	s, g := fresh(GroupOptions{}, 3)
	s.Release(g)
	s.Release(g)
	s.Update(nil, []string{"0"}, 0)
	if g.Len() != 3 || len(s.groups) != 0 || len(s.ward.censuses) != 0 {
		t.Fatalf("%d members, %d groups, %d censuses", g.Len(), len(s.groups), len(s.ward.censuses))
	}
	if _, ok := g.Pick(0, nil, Key{}); !ok {
		t.Fatal("nothing picked")
	}
}

func TestAnIterationOverMembersMayEnd(t *testing.T) {
	_, g := fresh(GroupOptions{}, 3)
	n := 0
	for range g.Members() {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Fatalf("it went on to %d", n)
	}
}

// bytesPerRun returns how many bytes a run of f allocates on average.
func bytesPerRun(f func()) float64 {
	const runs = 500
	var before, after runtime.MemStats
	f()
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / runs
}

func TestAnUpdateCostsWhatItChanges(t *testing.T) {
	type cost struct{ change, replace float64 }
	of := func(n int) (c cost) {
		s := new(Set[int])
		s.Configure(Options{Zone: "0", Self: "self"}, 0)
		s.Group(nil, GroupOptions{}, 0)
		s.Group(nil, GroupOptions{ZoneAware: true, Subset: -1}, 0)
		s.Group(func(v int) bool { return v >= 0 }, GroupOptions{Policy: Hash}, 0)
		s.Update(items(n), nil, 0)
		one, next := []Item[int]{{Key: strconv.Itoa(n / 2)}}, n
		c.change = bytesPerRun(func() {
			one[0].Value++
			s.Update(one, nil, 0)
		})
		c.replace = bytesPerRun(func() {
			s.Update([]Item[int]{{Key: strconv.Itoa(next)}}, []string{strconv.Itoa(next - n)}, 0)
			next++
		})
		return c
	}
	small, large := of(1000), of(10000)
	t.Logf("bytes of an update, three groups: %+v of 1000, %+v of 10000", small, large)
	if large.change > 3*small.change || large.change > 16<<10 {
		t.Errorf("changing one allocates %v bytes of 1000, %v of 10000", small.change, large.change)
	}
	if large.replace > 4*small.replace || large.replace > 32<<10 {
		t.Errorf("replacing one allocates %v bytes of 1000, %v of 10000", small.replace, large.replace)
	}
}
