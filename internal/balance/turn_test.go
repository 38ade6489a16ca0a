package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestTurnsAreFairOverAnyWindow(t *testing.T) {
	tests := []struct {
		name    string
		weights []uint32
		slack   float64
	}{
		{"one", []uint32{1}, 1},
		{"equal", []uint32{5, 5, 5, 5, 5, 5, 5}, 1},
		{"one to three", []uint32{1, 3}, 2},
		{"mixed", []uint32{1, 2, 3, 4, 10, 10, 7}, 2},
		{"one heavy", []uint32{1, 1, 1, 1, 1, 1, 1, 1, 50}, 2},
	}
	for _, tt := range tests {
		var s Set[int]
		g := s.Group(nil, GroupOptions{Policy: RoundRobin}, 0)
		sum := 0.0
		var put []Item[int]
		for i, w := range tt.weights {
			put = append(put, Item[int]{Key: string(rune('a' + i)), Value: i, Weight: w})
			sum += float64(w)
		}
		s.Update(put, nil, 0)
		for range 200 {
			window := 1 + rand.IntN(500)
			got := counts(t, g, 0, nil, len(tt.weights), window)
			for i, w := range tt.weights {
				if want := float64(window) * float64(w) / sum; math.Abs(float64(got[i])-want) > tt.slack {
					t.Fatalf("%s: of %d picks weight %d got %d, want %.1f ± %v", tt.name, window, w, got[i], want, tt.slack)
				}
			}
		}
	}
}

func TestTurnsPassOverThoseThatAreOutOrTried(t *testing.T) {
	s, g := fresh(GroupOptions{Policy: RoundRobin}, 6)
	all := endpoints(t, s, 6)
	all[1].Bar(1)
	fail(all[4], 5, 0)
	var tried Tried[int]
	tried.Add(all[2])
	got := counts(t, g, 0, &tried, 6, 6000)
	if got[1]+got[2]+got[4] != 0 || min(got[0], got[3], got[5]) < 900 {
		t.Fatalf("picks: %v", got)
	}
}

func TestTurnsStayFairWhileSomeAreOut(t *testing.T) {
	s, g := fresh(GroupOptions{Policy: RoundRobin}, 6)
	for i, e := range endpoints(t, s, 6) {
		if i == 2 || i == 3 {
			e.Bar(1)
		}
	}
	if got := counts(t, g, 0, nil, 6, 600); !slices.Equal(got, []int{150, 150, 0, 0, 150, 150}) {
		t.Fatalf("picks: %v", got)
	}
}

func TestTheLightestIsNeverFar(t *testing.T) {
	// All instances but one have the least weight that is distinguished. Even then a
	// pick passes over at most MaxTurns turns.
	for _, n := range []int{2, 10, 100, 1000, 10000} {
		longest, run := 0, 0
		start := uint64(rand.Uint32())
		for k := start; k < start+200_000; k++ {
			i := int(k % uint64(n))
			if i != 0 && due(k/uint64(n), i, MinShare) {
				run = 0
				continue
			}
			run++
			longest = max(longest, run)
		}
		if longest > MaxTurns {
			t.Errorf("of %d: %d turns in a row are passed over, want at most %d", n, longest, MaxTurns)
		}
	}
}
