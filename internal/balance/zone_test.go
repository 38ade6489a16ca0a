package balance

import (
	"strconv"
	"testing"
)

// zoned returns a zone-aware group of instances, sizes[z] of them in zone z, for a
// client in zone 0. The value of each instance is its zone.
func zoned(o GroupOptions, sizes ...int) (*Set[int], *Group[int]) {
	s := new(Set[int])
	s.Configure(Options{Self: "self", Zone: "0"}, 0)
	o.ZoneAware = true
	g := s.Group(nil, o, 0)
	var put []Item[int]
	for z, n := range sizes {
		for range n {
			put = append(put, Item[int]{Key: strconv.Itoa(len(put)), Value: z, Zone: strconv.Itoa(z)})
		}
	}
	s.Update(put, nil, 0)
	return s, g
}

// bar bars n of the instances in a zone.
func bar(g *Group[int], zone, n int) {
	for e := range g.Members() {
		if e.Value() == zone && n > 0 {
			e.Bar(never)
			n--
		}
	}
}

func TestPicksKeepToTheirZone(t *testing.T) {
	tests := []struct {
		name  string
		sizes []int
		// out is how many instances are barred, by zone.
		out   []int
		local float64
	}{
		{"an equal part", []int{4, 4, 4}, nil, 1},
		{"more than its part", []int{8, 2, 2}, nil, 1},
		{"less than its part", []int{1, 4, 4}, nil, 1.0 / 3},
		{"half of its part", []int{2, 4, 6}, nil, 0.5},
		{"nobody at home", []int{0, 4, 4}, nil, 0},
		{"too few for zones", []int{2, 3}, nil, 0.4},
		{"some out, which the others can bear", []int{10, 10}, []int{2}, 1},
		{"more out than the others can bear", []int{10, 10}, []int{5}, 0.7},
		{"all at home out", []int{10, 10}, []int{10}, 0},
		{"all elsewhere out", []int{2, 4}, []int{0, 4}, 1},
		{"less than its part, and some of that out", []int{4, 12}, []int{2}, 0.35},
	}
	const picks = 40_000
	for _, policy := range []Policy{P2C, RoundRobin} {
		for _, tt := range tests {
			_, g := zoned(GroupOptions{Policy: policy}, tt.sizes...)
			for z, n := range tt.out {
				bar(g, z, n)
			}
			got := counts(t, g, 0, nil, len(tt.sizes), picks)
			near(t, tt.name, float64(got[0])/picks, tt.local, picks)
		}
	}
}

func TestOtherZonesTakeOverWhenTheOwnWasTried(t *testing.T) {
	_, g := zoned(GroupOptions{}, 3, 3)
	var tried Tried[int]
	for e := range g.Members() {
		if e.Zone() == "0" {
			tried.Add(e)
		}
	}
	if got := counts(t, g, 0, &tried, 2, 1000); got[0] != 0 {
		t.Fatalf("picks by zone: %v", got)
	}
}

func TestWithoutAZoneThereIsNoPreference(t *testing.T) {
	for _, zone := range []string{"", "0"} {
		s, g := zoned(GroupOptions{}, 5, 5)
		s.Configure(Options{Zone: zone}, 0)
		want := 1.0
		if zone == "" {
			want = 0.5
		}
		near(t, "zone "+zone, float64(counts(t, g, 0, nil, 2, 10000)[0])/10000, want, 10000)
	}
}

func TestAnInstanceMayMoveToAnotherZone(t *testing.T) {
	s, g := zoned(GroupOptions{}, 3, 3)
	e, _ := s.Lookup("5")
	e.Begin(0)
	s.Update([]Item[int]{{Key: "5", Value: 7, Zone: "0"}}, nil, 0)
	moved, _ := s.Lookup("5")
	if moved.InFlight() != 1 {
		t.Fatal("it lost its load")
	}
	e.Abandon()
	got := counts(t, g, 0, nil, 8, 10000)
	if x := chiSquared([]int{got[0] / 3, got[7]}); got[1] != 0 || x > tooUneven(2) {
		t.Fatalf("picks: %v", got)
	}
}

func TestTheShareOfAZoneFollowsTheZones(t *testing.T) {
	s, g := zoned(GroupOptions{}, 2, 4, 4)
	local := func() float64 { return g.view.Load().local }
	if got := local(); got != 0.6 {
		t.Fatalf("2 of 10 in three zones: %v, want 0.6", got)
	}
	var put []Item[int]
	for _, key := range []string{"6", "7", "8"} {
		put = append(put, Item[int]{Key: key, Zone: "1"})
	}
	if s.Update(put, nil, 0); local() != 0.6 {
		t.Fatalf("one is left in the third zone: %v, want 0.6", local())
	}
	if s.Update([]Item[int]{{Key: "9", Zone: "1"}}, nil, 0); local() != 0.4 {
		t.Fatalf("the third zone is gone: %v, want 0.4", local())
	}
	if s.Update(nil, []string{"6", "7"}, 0); local() != 0.5 {
		t.Fatalf("2 of 8 in two zones: %v, want 0.5", local())
	}
	if s.Update([]Item[int]{{Key: "9", Zone: "3"}}, nil, 0); local() != 0.75 {
		t.Fatalf("2 of 8 in three zones: %v, want 0.75", local())
	}
	if s.Update(nil, []string{"9"}, 0); local() != 4.0/7 {
		t.Fatalf("2 of 7 in two zones: %v, want 4/7", local())
	}
}
