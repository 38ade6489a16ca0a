package balance

import (
	"strconv"
	"sync"
	"testing"
)

func TestPicksRunBesideUpdates(t *testing.T) {
	var s Set[int]
	s.Configure(Options{Self: "self", Zone: "0"}, 0)
	put := func(from, to int) (out []Item[int]) {
		for i := from; i < to; i++ {
			out = append(out, Item[int]{Key: strconv.Itoa(i), Value: i, Zone: strconv.Itoa(i % 3), Weight: uint32(i % 2)})
		}
		return out
	}
	odd := func(v int) bool { return v%2 == 1 }
	groups := []*Group[int]{
		s.Group(nil, GroupOptions{}, 0),
		s.Group(odd, GroupOptions{ZoneAware: true}, 0),
		s.Group(nil, GroupOptions{Policy: RoundRobin, ZoneAware: true}, 0),
		s.Group(odd, GroupOptions{Policy: Hash}, 0),
	}
	s.Update(put(0, 90), nil, 0)
	var calls sync.WaitGroup
	for _, g := range groups {
		calls.Go(func() {
			for now := range int64(3000) {
				var tried Tried[int]
				for range 2 {
					e, ok := g.Pick(now*int64(Resolution), &tried, Key{Hash: uint64(now), Set: now%2 == 0})
					if !ok {
						t.Error("an endpoint is always there")
						return
					}
					e.Begin(now)
					tried.Add(e)
					e.End(now, now*int64(Resolution), outcome(now%3 == 0))
					if now%50 == 0 {
						e.Bar((now + 20) * int64(Resolution))
					}
					if now%70 == 0 {
						e.Unbar()
					}
				}
				g.Health(now * int64(Resolution))
				s.Lookup("5")
			}
		})
	}
	calls.Go(func() {
		for now := range int64(500) {
			s.Update(put(60, 90+int(now%60)), []string{strconv.Itoa(100 + int(now%50))}, now*int64(Resolution))
			s.Release(s.Group(odd, GroupOptions{}, now))
			if now%100 == 0 {
				s.Configure(Options{Self: "self", Zone: strconv.Itoa(int(now/100) % 3)}, now)
			}
		}
	})
	calls.Wait()
	for e := range groups[0].Members() {
		if e.InFlight() != 0 {
			t.Fatalf("endpoint %s has %d calls in flight at the end", e.Key(), e.InFlight())
		}
	}
	// Long afterwards, all bars and ejections have ended.
	for _, g := range groups {
		if available, total := g.Health(never - 1); available != total {
			t.Fatalf("%d of %d are available", available, total)
		}
	}
}
