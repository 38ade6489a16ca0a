package balance

import (
	"math"
	"strconv"
	"testing"
	"time"
)

const ms = int64(time.Millisecond)

func items(n int) []Item[int] {
	out := make([]Item[int], n)
	for i := range out {
		out[i] = Item[int]{Key: strconv.Itoa(i), Value: i}
	}
	return out
}

// fresh returns a set with n instances and a group of all of them.
func fresh(o GroupOptions, n int) (*Set[int], *Group[int]) {
	s := new(Set[int])
	g := s.Group(nil, o, 0)
	s.Update(items(n), nil, 0)
	return s, g
}

// endpoints returns the endpoints of items(n), in the order of the items.
func endpoints(tb testing.TB, s *Set[int], n int) []*Endpoint[int] {
	tb.Helper()
	out := make([]*Endpoint[int], n)
	for i := range out {
		e, ok := s.Lookup(strconv.Itoa(i))
		if !ok {
			tb.Fatalf("no endpoint %d", i)
		}
		out[i] = e
	}
	return out
}

// alone returns the only endpoint of a new set.
func alone() *Endpoint[int] {
	s, _ := fresh(GroupOptions{}, 1)
	e, _ := s.Lookup("0")
	return e
}

// counts picks from g and returns how many picks each of the values below n got.
func counts(tb testing.TB, g *Group[int], now int64, tried *Tried[int], n, picks int) []int {
	tb.Helper()
	out := make([]int, n)
	for range picks {
		e, ok := g.Pick(now, tried, Key{})
		if !ok {
			tb.Fatal("nothing picked")
		}
		out[e.Value()]++
	}
	return out
}

// tooUneven returns the χ² value that n fair categories exceed about once in 10⁷ runs.
// χ² has the mean n−1 and the deviation √(2(n−1)); a wide margin covers the skew.
func tooUneven(n int) float64 { return float64(n-1) + 40 + 8*float64(n)/10 }

func chiSquared(counts []int) float64 {
	sum := 0
	for _, c := range counts {
		sum += c
	}
	mean := float64(sum) / float64(len(counts))
	x := 0.0
	for _, c := range counts {
		d := float64(c) - mean
		x += d * d / mean
	}
	return x
}

// near reports an error unless got is within five standard deviations of want, for the
// given number of picks.
func near(t *testing.T, what string, got, want float64, picks int) {
	t.Helper()
	if sigma := math.Sqrt(want * (1 - want) / float64(picks)); math.Abs(got-want) > 5*sigma+1e-9 {
		t.Errorf("%s: share %.4f, want %.4f ± %.4f", what, got, want, 5*sigma)
	}
}
