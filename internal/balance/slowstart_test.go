//go:build !race

package balance

import (
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/race"
)

// The tests of this file do not run under the race detector: each has one goroutine, and costs ten times as much
// there. The detector sees picks beside updates in race_test.go.

func TestASlowStartGrowsTheShareOfANewcomer(t *testing.T) {
	const n, picks = 10, 100_000
	start := int64(time.Hour)
	for _, policy := range []Policy{P2C, Hash} {
		for _, tt := range []struct {
			after time.Duration
			share float64
		}{{0, 0.1}, {10 * time.Second, 0.4}, {20 * time.Second, 0.7}, {29 * time.Second, 0.97}, {30 * time.Second, 1}, {time.Hour, 1}} {
			s, g := fresh(GroupOptions{Policy: policy}, n-1)
			s.Update([]Item[int]{{Key: "new", Value: n - 1}}, nil, start)
			now := start + int64(tt.after)
			got := counts(t, g, now, nil, n, picks)
			near(t, tt.after.String(), float64(got[n-1])/picks, tt.share/n, picks)
			if x := chiSquared(got[:n-1]); x > tooUneven(n-1) {
				t.Errorf("%v: the others are uneven: χ² = %.1f: %v", tt.after, x, got)
			}
			if e, _ := s.Lookup("new"); math.Abs(e.Share(now)-tt.share) > 1e-9 {
				t.Errorf("%v: Share = %v, want %v", tt.after, e.Share(now), tt.share)
			}
		}
	}
}

func TestASlowStartHoldsUnderLoad(t *testing.T) {
	// At these rates each instance has 0.02 to 20 calls in flight.
	for _, rate := range []int{100, 20000, race.Fewer(100_000, 40_000)} {
		joined, fair := 0, 0.0
		// Low rates are repeated, because the some 40 calls that the newcomer gets once say little.
		for range max(1, race.Fewer(10_000, 4000)/rate) {
			all := servers(5, time.Millisecond)
			s := simulateWith(Options{Outlier: Outlier{Errors: -1}}, all...)
			s.run(time.Second, rate)
			v := s.join("joined", time.Millisecond)
			s.run(10*time.Second, rate)
			joined += v.calls
			fair += float64(total(all)) / 5
		}
		// Over the first 10 s the mean share is a quarter.
		if share := float64(joined) / fair; share < 0.15 || share > 0.35 {
			t.Errorf("at %d calls/s it got %.2f of a share in its first 10 s, want 0.25", rate, share)
		}
	}
}

func TestASlowStartIsInTurnToo(t *testing.T) {
	const n, picks = 10, 100_000
	s, g := fresh(GroupOptions{Policy: RoundRobin}, n-1)
	s.Update([]Item[int]{{Key: "new", Value: n - 1}}, nil, 0)
	got := counts(t, g, int64(10*time.Second), nil, n, picks)
	// A turn that the newcomer passes over goes to the next instance, so the newcomer
	// takes 0.4 of n−1+0.4 turns.
	near(t, "in turn", float64(got[n-1])/picks, 0.4/(n-1+0.4), picks)
}

func TestTheFirstInstancesDoNotStartSlowly(t *testing.T) {
	s, _ := fresh(GroupOptions{}, 3)
	for _, e := range endpoints(t, s, 3) {
		if e.Share(0) != 1 {
			t.Fatalf("the share of %s is %v", e.Key(), e.Share(0))
		}
	}
	s.Update(nil, []string{"0", "1", "2"}, 1)
	s.Update(items(2), nil, 2)
	if e, _ := s.Lookup("1"); e.Share(2) != 1 {
		t.Fatal("in a set that was empty it starts slowly")
	}
	s.Update([]Item[int]{{Key: "1", Value: 7}, {Key: "2"}}, nil, 3)
	if e, _ := s.Lookup("1"); e.Share(3) != 1 {
		t.Fatal("an instance that changes starts again")
	}
	if e, _ := s.Lookup("2"); e.Share(3) != RampFloor {
		t.Fatalf("the share of a newcomer is %v", e.Share(3))
	}
}

func TestWhenAllStartSlowlyAllArePicked(t *testing.T) {
	const n = 200
	s, g := fresh(GroupOptions{Subset: -1}, 1)
	e, _ := s.Lookup("0")
	e.Bar(never)
	var put []Item[int]
	for i := 1; i < n; i++ {
		put = append(put, Item[int]{Key: strconv.Itoa(i), Value: i})
	}
	s.Update(put, nil, 0)
	got := counts(t, g, 0, nil, n, race.Fewer(2000, 200)*n)
	if x := chiSquared(got[1:]); got[0] != 0 || x > tooUneven(n-1) {
		t.Fatalf("χ² = %.1f, barred one %d", x, got[0])
	}
}

func TestNoSlowStart(t *testing.T) {
	s, _ := fresh(GroupOptions{}, 1)
	s.Configure(Options{SlowStart: -1}, 0)
	s.Update([]Item[int]{{Key: "new"}}, nil, 0)
	if e, _ := s.Lookup("new"); e.Share(0) != 1 {
		t.Fatalf("Share = %v", e.Share(0))
	}
}
