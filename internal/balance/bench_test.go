package balance

import (
	"runtime"
	"strconv"
	"testing"
)

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{1, 3, 100, 10000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			_, g := fresh(GroupOptions{Subset: -1}, n)
			benchPicks(b, g, false)
		})
	}
}

func benchPicks(b *testing.B, g *Group[int], keyed bool) {
	b.Helper()
	b.ReportAllocs()
	i := uint64(0)
	for now := int64(0); b.Loop(); now += 10_000 {
		i++
		if _, ok := g.Pick(now, nil, Key{Hash: i, Set: keyed}); !ok {
			b.Fatal("nothing picked")
		}
	}
}

func BenchmarkPickBy(b *testing.B) {
	zones := items(10000)
	for i := range zones {
		zones[i].Zone = strconv.Itoa(i % 3)
		zones[i].Weight = uint32(1 + i%4)
	}
	tests := []struct {
		name  string
		o     GroupOptions
		keyed bool
	}{
		{"subset", GroupOptions{}, false},
		{"zone", GroupOptions{ZoneAware: true, Subset: -1}, false},
		{"zone subset", GroupOptions{ZoneAware: true}, false},
		{"turns", GroupOptions{Policy: RoundRobin, Subset: -1}, false},
		{"key", GroupOptions{Policy: Hash}, true},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			s := new(Set[int])
			s.Configure(Options{Self: "self", Zone: "1"}, 0)
			g := s.Group(nil, tt.o, 0)
			s.Update(zones, nil, 0)
			benchPicks(b, g, tt.keyed)
		})
	}
}

func BenchmarkPickTroubled(b *testing.B) {
	for _, percent := range []int{1, 50, 99} {
		b.Run(strconv.Itoa(percent), func(b *testing.B) {
			_, g := fresh(GroupOptions{Subset: -1}, 10000)
			i := 0
			for e := range g.Members() {
				if i++; i%100 < percent {
					e.Bar(never)
				}
			}
			benchPicks(b, g, false)
		})
	}
}

func BenchmarkPickBeginEnd(b *testing.B) {
	for _, n := range []int{1, 3, 100, 10000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			_, g := fresh(GroupOptions{Subset: -1}, n)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for now := int64(0); pb.Next(); now += 10_000 {
					e, _ := g.Pick(now, nil, Key{})
					e.Begin(now)
					e.End(now, now+5_000, Answered)
				}
			})
		})
	}
}

func BenchmarkPickAfterTwoTries(b *testing.B) {
	s, g := fresh(GroupOptions{}, 100)
	var tried Tried[int]
	for _, key := range []string{"1", "2"} {
		e, _ := s.Lookup(key)
		tried.Add(e)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := g.Pick(0, &tried, Key{}); !ok {
			b.Fatal("nothing picked")
		}
	}
}

func BenchmarkPickMeasured(b *testing.B) {
	_, g := fresh(GroupOptions{}, 100)
	now := int64(0)
	for range WarmSamples {
		now += int64(Resolution)
		i := int64(0)
		for e := range g.Members() {
			i++
			e.Begin(now - i*100_000)
			e.End(now-i*100_000, now, Answered)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := g.Pick(now, nil, Key{}); !ok {
			b.Fatal("nothing picked")
		}
	}
}

func BenchmarkUpdateOneOf10000(b *testing.B) {
	s, _ := fresh(GroupOptions{}, 10000)
	one := items(5001)[5000:]
	b.ReportAllocs()
	for b.Loop() {
		one[0].Value++
		s.Update(one, nil, 0)
	}
}

func BenchmarkReplaceOneOf10000(b *testing.B) {
	s, _ := fresh(GroupOptions{}, 10000)
	put, remove := make([]Item[int], 1), make([]string, 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		put[0].Key, remove[0] = strconv.Itoa(10000+i), strconv.Itoa(i)
		s.Update(put, remove, 0)
	}
}

func BenchmarkRing(b *testing.B) {
	for _, n := range []int{10, 10000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			_, g := fresh(GroupOptions{Policy: Hash}, n)
			b.ReportAllocs()
			for b.Loop() {
				newRing(g.view.Load(), 0)
			}
		})
	}
}

// BenchmarkMemory reports how many bytes each of 10,000 instances takes besides its
// key and value, in a set with one or two groups of all instances.
func BenchmarkMemory(b *testing.B) {
	const n = 10000
	all := items(n)
	for _, groups := range []int{1, 2} {
		b.Run(strconv.Itoa(groups)+" groups", func(b *testing.B) {
			for b.Loop() {
				before := heapInUse()
				s := new(Set[int])
				for range groups {
					s.Group(nil, GroupOptions{}, 0)
				}
				s.Update(all, nil, 0)
				b.ReportMetric(float64(heapInUse()-before)/n, "B/instance")
				runtime.KeepAlive(s)
			}
		})
	}
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
