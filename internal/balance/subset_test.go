package balance

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/linkmesh/link/internal/hash"
)

// keptOf returns the keys that g keeps, sorted.
func keptOf(g *Group[int]) (keys []string) {
	for _, p := range &g.view.Load().kept {
		for i := range p.endpoints.n {
			keys = append(keys, (*p.endpoints.at(i)).key)
		}
	}
	slices.Sort(keys)
	return keys
}

func subsetting(self string, n int) (*Set[int], *Group[int]) {
	s := new(Set[int])
	s.Configure(Options{Self: self}, 0)
	g := s.Group(nil, GroupOptions{}, 0)
	s.Update(items(n), nil, 0)
	return s, g
}

func TestAClientKeepsASubsetOfALargeGroup(t *testing.T) {
	for _, tt := range []struct {
		n, want int
		o       GroupOptions
	}{
		{100, 0, GroupOptions{}},
		{101, 20, GroupOptions{}},
		{101, 0, GroupOptions{Policy: Hash}},
		{101, 20, GroupOptions{Policy: RoundRobin}},
		{101, 0, GroupOptions{Subset: -1}},
		{101, 5, GroupOptions{Subset: 5}},
		{150, 0, GroupOptions{Subset: 150}},
		{151, 150, GroupOptions{Subset: 150}},
	} {
		s, g := fresh(tt.o, tt.n)
		kept := keptOf(g)
		if len(kept) != tt.want {
			t.Errorf("of %d, with %+v, it keeps %d, want %d", tt.n, tt.o, len(kept), tt.want)
			continue
		}
		if tt.want == 0 {
			kept = make([]string, tt.n)
		}
		got := counts(t, g, 0, nil, tt.n, 200*len(kept))
		picked := 0
		for _, c := range got {
			picked += min(c, 1)
		}
		if picked != len(kept) || g.Len() != tt.n {
			t.Errorf("of %d, with %+v, it picks %d, want %d", tt.n, tt.o, picked, len(kept))
		}
		s.Update(nil, []string{"0", "1"}, 0)
		if kept := keptOf(g); tt.n == 101 && len(kept) != 0 {
			t.Errorf("of 99 it keeps %d", len(kept))
		}
	}
}

func TestClientsKeepDifferentSubsetsThatSpreadEvenly(t *testing.T) {
	const n, clients = 200, 1000
	got := make([]int, n)
	for i := range clients {
		_, g := subsetting(fmt.Sprint("client-", i), n)
		for _, key := range keptOf(g) {
			v, _ := strconv.Atoi(key)
			got[v]++
		}
	}
	if x := chiSquared(got); x > tooUneven(n) {
		t.Fatalf("χ² = %.1f, want below %.1f", x, tooUneven(n))
	}
}

func TestASubsetHardlyChanges(t *testing.T) {
	s, g := subsetting("self", 1000)
	before := keptOf(g)
	s.Update(nil, []string{before[3], before[7]}, 0)
	after := keptOf(g)
	stayed := 0
	for _, key := range after {
		if slices.Contains(before, key) {
			stayed++
		}
	}
	if len(after) != 20 || stayed != 18 {
		t.Fatalf("of 20, two of which left, %d stayed, and there are %d", stayed, len(after))
	}
	s.Update([]Item[int]{{Key: before[3]}, {Key: before[7]}}, nil, 0)
	if back := keptOf(g); !slices.Equal(back, before) {
		t.Fatalf("when they are back it keeps %v, before it was %v", back, before)
	}
}

func TestAnotherOrderOfArrivalKeepsTheSame(t *testing.T) {
	_, g := subsetting("self", 500)
	want := keptOf(g)
	one, h := subsetting("self", 0)
	all := items(500)
	slices.Reverse(all)
	for i := range all {
		one.Update(all[i:i+1], nil, 0)
	}
	if got := keptOf(h); !slices.Equal(got, want) {
		t.Fatalf("kept %v, want %v", got, want)
	}
	late := one.Group(nil, GroupOptions{}, 0)
	if got := keptOf(late); !slices.Equal(got, want) {
		t.Fatalf("a group made later keeps %v, want %v", got, want)
	}
	one.Configure(Options{Self: "other"}, 0)
	if got := keptOf(h); slices.Equal(got, want) {
		t.Fatal("another client keeps the same")
	}
}

func TestAThirdIsKeptInOtherZones(t *testing.T) {
	for _, tt := range []struct {
		sizes []int
		// want is how many instances are kept in the client's zone and in other zones.
		want [2]int
	}{
		{[]int{100, 100, 100}, [2]int{14, 6}},
		{[]int{10, 100, 100}, [2]int{10, 10}},
		{[]int{0, 100, 100}, [2]int{0, 20}},
		{[]int{200, 2}, [2]int{18, 2}},
		{[]int{200}, [2]int{20, 0}},
	} {
		_, g := zoned(GroupOptions{}, tt.sizes...)
		v := g.view.Load()
		if got := [2]int{v.kept[0].slots.n, v.kept[1].slots.n}; got != tt.want {
			t.Errorf("of %v it keeps %v, want %v", tt.sizes, got, tt.want)
		}
	}
}

func TestWhenAllThatAreKeptAreOutOthersTakeOver(t *testing.T) {
	s, g := subsetting("self", 200)
	for _, key := range keptOf(g) {
		e, _ := s.Lookup(key)
		e.Bar(1)
	}
	for range 100 {
		e, ok := g.Pick(0, nil, Key{})
		if !ok || e.Barred(0) {
			t.Fatalf("Pick = %v, %v", e, ok)
		}
	}
	if available, total := g.Health(0); available != 180 || total != 200 {
		t.Fatalf("Health = %d of %d, want that of the whole group", available, total)
	}
}

func TestASubsetPanicsByItself(t *testing.T) {
	s, g := subsetting("self", 200)
	s.Configure(Options{Self: "self", Outlier: Outlier{Max: 1}}, 0)
	kept := keptOf(g)
	for _, key := range kept[:11] {
		e, _ := s.Lookup(key)
		fail(e, 5, 0)
	}
	got := counts(t, g, 0, nil, 200, 20_000)
	for i, c := range got {
		if is := slices.Contains(kept, strconv.Itoa(i)); is != (c > 0) {
			t.Errorf("%d, kept %v, has %d picks", i, is, c)
		}
	}
}

func TestKeptEndpointsFollowTheirValues(t *testing.T) {
	s, g := subsetting("self", 200)
	key := keptOf(g)[0]
	s.Update([]Item[int]{{Key: key, Value: 999, Weight: 3}}, nil, 0)
	e, _ := s.Lookup(key)
	for range 10_000 {
		if picked, _ := g.Pick(0, nil, Key{}); picked.key == key {
			if picked != e {
				t.Fatal("picked the old endpoint")
			}
			return
		}
	}
	t.Fatal("it was not picked")
}

func TestKeyedPicksUseTheWholeGroup(t *testing.T) {
	const n = 200
	_, g := subsetting("self", n)
	seen := make(map[int]bool)
	for i := range uint64(100 * n) {
		e, _ := g.Pick(0, nil, Key{Hash: i, Set: true})
		seen[e.Value()] = true
	}
	if len(seen) != n {
		t.Fatalf("keyed picks reach %d of %d", len(seen), n)
	}
}

// TestANewcomerIsKeptThoughOneLeaves has one update in which a kept member leaves, an instance of another zone
// takes its place in the quota, and a newcomer ranks highest. It expects that the newcomer is kept.
func TestANewcomerIsKeptThoughOneLeaves(t *testing.T) {
	const k = 21
	s := new(Set[int])
	s.Configure(Options{Self: "me", Zone: "a"}, 0)
	g := s.Group(nil, GroupOptions{ZoneAware: true, Subset: k}, 0)
	var put []Item[int]
	for i := range SubsetAbove + 10 {
		zone := "a"
		// Zone b has one instance fewer than its quota.
		if i < k/3-1 {
			zone = "b"
		}
		put = append(put, Item[int]{Key: strconv.Itoa(i), Weight: 1, Zone: zone})
	}
	s.Update(put, nil, 0)
	rank := func(key string) uint64 { return hash.SplitMix(hashOf(key) ^ hashOf("me")) }
	var near []string
	for _, key := range keptOf(g) {
		if e, _ := s.Lookup(key); e.zone == "a" {
			near = append(near, key)
		}
	}
	slices.SortFunc(near, func(a, b string) int { return cmp.Compare(rank(b), rank(a)) })
	newcomer := ""
	for i := 1000; newcomer == ""; i++ {
		if key := strconv.Itoa(i); rank(key) > rank(near[0]) {
			newcomer = key
		}
	}
	s.Update([]Item[int]{{Key: newcomer, Weight: 1, Zone: "a"}, {Key: "far", Weight: 1, Zone: "b"}}, near[1:2], 0)
	if kept := keptOf(g); len(kept) != k || !slices.Contains(kept, newcomer) {
		t.Errorf("it keeps %v, want %d with %s, which ranks highest", kept, k, newcomer)
	}
}
