package router

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/policy"
)

// many returns a snapshot of n instances.
func many(n int) discovery.Snapshot {
	s := discovery.Snapshot{Service: "orders", Source: "test", Origin: discovery.FromConfig, Instances: make([]discovery.Instance, n)}
	for i := range s.Instances {
		s.Instances[i] = discovery.Instance{
			ID: fmt.Sprintf("orders-%05d", i), Service: "orders", Addr: fmt.Sprintf("127.0.%d.%d:7443", i/250, 1+i%250),
			Tags: []string{"v1", fmt.Sprintf("zone=z%d", i%3)}, Meta: map[string]string{"dc": "dc1"},
		}.Normalized()
	}
	return s
}

// changed returns s with another weight for instance i.
func changed(s discovery.Snapshot, i int) discovery.Snapshot {
	s.Instances = slices.Clone(s.Instances)
	s.Instances[i].Weight = 200 - s.Instances[i].Weight%7 - i%50
	s.Version++
	return s
}

// calling returns a service with the instances of a snapshot.
func calling(tb testing.TB, first discovery.Snapshot) *Service {
	tb.Helper()
	s, err := newMesh(tb).router(first.Instances...).Service("orders")
	if err != nil {
		tb.Fatal(err)
	}
	<-s.known
	if s.set.Len() != len(first.Instances) {
		tb.Fatalf("%d instances, want %d", s.set.Len(), len(first.Instances))
	}
	// Build the group that calls pick from.
	s.view.Load().path(s.view.Load().plans.Route(&policy.Request{}), &Ask{})
	return s
}

// TestAnUpdateCostsWhatChanged changes one instance among 1,000 and among 10,000, and
// expects that the allocated bytes do not grow with the number of instances.
func TestAnUpdateCostsWhatChanged(t *testing.T) {
	cost := func(n int) float64 {
		first := many(n)
		s := calling(t, first)
		next := make([]discovery.Snapshot, 0, 100)
		last := first
		for i := range 100 {
			last = changed(last, i*n/100)
			next = append(next, last)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, snapshot := range next {
			s.apply(snapshot)
		}
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc-before.TotalAlloc) / float64(len(next))
	}
	small, large := cost(1000), cost(10_000)
	t.Logf("an update allocates %.0f bytes among 1,000 instances, %.0f among 10,000", small, large)
	if large > 4*small || large > 32<<10 {
		t.Errorf("an update allocates %.0f bytes among 1,000 instances and %.0f among 10,000: it grows with their number", small, large)
	}
}

// BenchmarkUpdate applies a snapshot in which one of 10,000 instances has changed.
func BenchmarkUpdate(b *testing.B) {
	first := many(10_000)
	s := calling(b, first)
	states := []discovery.Snapshot{changed(first, 17), changed(first, 18)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.apply(states[i%2])
	}
}

// BenchmarkInstance reports the memory that each of 10,000 instances holds.
func BenchmarkInstance(b *testing.B) {
	const n = 10_000
	var before, after runtime.MemStats
	var all []*Service
	for b.Loop() {
		snapshot := many(n) // it is the registry's, and counted as well
		runtime.GC()
		runtime.ReadMemStats(&before)
		all = append(all, calling(b, snapshot))
		runtime.GC()
		runtime.ReadMemStats(&after)
	}
	runtime.KeepAlive(all)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/instance")
}
