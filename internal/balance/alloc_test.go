package balance

import (
	"strconv"
	"testing"
	"time"
	"unsafe"
)

func TestPicksAllocateNothing(t *testing.T) {
	tests := []struct {
		name string
		o    GroupOptions
		key  Key
		n    int
		// out is how many of every ten instances are barred.
		out int
	}{
		{"P2C", GroupOptions{}, Key{}, 100, 0},
		{"P2C of a subset", GroupOptions{}, Key{}, 200, 0},
		{"P2C by zone", GroupOptions{ZoneAware: true}, Key{}, 100, 0},
		{"P2C with some out", GroupOptions{ZoneAware: true}, Key{}, 100, 3},
		{"P2C with most out", GroupOptions{}, Key{}, 200, 9},
		{"in turn", GroupOptions{Policy: RoundRobin}, Key{}, 100, 0},
		{"in turn with some out", GroupOptions{Policy: RoundRobin}, Key{}, 100, 3},
		{"by key", GroupOptions{Policy: Hash}, keyed(42), 100, 0},
		{"by key with most out", GroupOptions{Policy: Hash}, keyed(42), 100, 9},
	}
	for _, tt := range tests {
		var s Set[int]
		s.Configure(Options{Zone: "0"}, 0)
		g := s.Group(nil, tt.o, 0)
		put := items(tt.n)
		for i := range put {
			put[i].Zone, put[i].Weight = strconv.Itoa(i%3), uint32(1+i%2)
		}
		s.Update(put[:tt.n/2], nil, 0)
		// Instances that join a set that is not empty start slowly.
		s.Update(put[tt.n/2:], nil, 0)
		for i, e := range endpoints(t, &s, tt.n) {
			if i%10 < tt.out {
				e.Bar(int64(time.Minute))
			}
		}
		// The first pick with a key makes the table.
		g.Pick(0, nil, tt.key)
		now := int64(0)
		got := testing.AllocsPerRun(1000, func() {
			var tried Tried[int]
			for range 3 {
				now += int64(time.Millisecond)
				e, _ := g.Pick(now, &tried, tt.key)
				e.Begin(now)
				e.End(now, now+1000, outcome(now%2 == 0))
				tried.Add(e)
			}
			e, _ := g.Pick(now, nil, tt.key)
			e.Begin(now)
			e.Abandon()
			g.Health(now)
		})
		if got != 0 {
			t.Errorf("%s: allocates %v times, want 0", tt.name, got)
		}
	}
}

func TestWhatAPickReadsIsOneCacheLine(t *testing.T) {
	var l load
	if got := unsafe.Sizeof(l); got%cacheLine != 0 {
		t.Errorf("a load is %d bytes, want whole lines of %d", got, cacheLine)
	}
	if got := unsafe.Offsetof(l.special) + unsafe.Sizeof(l.special); got > cacheLine {
		t.Errorf("what a pick reads ends at %d, beyond the first line", got)
	}
	if got := unsafe.Offsetof(l.barred); got != cacheLine {
		t.Errorf("what is read seldom begins at %d, want %d", got, cacheLine)
	}
}
