package balance

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"
)

func endpoints(n int) []*Endpoint[int] {
	out := make([]*Endpoint[int], n)
	for i := range out {
		out[i] = NewEndpoint(strconv.Itoa(i), i, 1)
	}
	return out
}

// tooUneven is the χ² value that n fair categories exceed about once in 10⁷ runs:
// mean n−1, deviation √(2(n−1)), and a wide margin for the skew.
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

func TestEqualLoadsAreSpreadEvenly(t *testing.T) {
	for _, n := range []int{1, 2, 3, 10, 100} {
		p := NewPicker(endpoints(n))
		counts := make([]int, n)
		for range 2000 * n {
			e, ok := p.Pick(0, nil)
			if !ok {
				t.Fatal("no endpoint picked")
			}
			counts[e.Value()]++
		}
		if x := chiSquared(counts); x > tooUneven(n) {
			t.Errorf("%d endpoints: χ² = %.1f, want below %.1f: %v", n, x, tooUneven(n), counts)
		}
	}
}

func TestRetriesAreSpreadEvenlyOverTheRest(t *testing.T) {
	const n = 10
	all := endpoints(n)
	p := NewPicker(all)
	var tried Tried[int]
	tried.Add(all[3])
	tried.Add(all[7])
	counts := make([]int, n)
	for range 20000 {
		e, ok := p.Pick(0, &tried)
		if !ok {
			t.Fatal("no endpoint picked")
		}
		counts[e.Value()]++
	}
	if counts[3]+counts[7] != 0 {
		t.Fatalf("tried endpoints were picked: %v", counts)
	}
	rest := append(append(append([]int{}, counts[:3]...), counts[4:7]...), counts[8:]...)
	if x := chiSquared(rest); x > tooUneven(len(rest)) {
		t.Fatalf("χ² = %.1f, want below %.1f: %v", x, tooUneven(len(rest)), counts)
	}
}

func TestNothingToPick(t *testing.T) {
	all := endpoints(3)
	var everyone Tried[int]
	for _, e := range all {
		everyone.Add(e)
	}
	tests := []struct {
		name   string
		picker *Picker[int]
		tried  *Tried[int]
	}{
		{"nil picker", nil, nil},
		{"empty picker", NewPicker[int](nil), nil},
		{"empty picker on a retry", NewPicker[int](nil), &everyone},
		{"one endpoint, tried", NewPicker(all[:1]), &everyone},
		{"all tried", NewPicker(all), &everyone},
	}
	for _, tt := range tests {
		if e, ok := tt.picker.Pick(0, tt.tried); ok || e != nil {
			t.Errorf("%s: Pick = %v, %v; want nothing", tt.name, e, ok)
		}
	}
}

func TestTriedIsNeverPickedWhileAnotherExists(t *testing.T) {
	for n := 1; n <= MaxTried+3; n++ {
		all := endpoints(n)
		p := NewPicker(all)
		for range 200 {
			var tried Tried[int]
			for attempt := range min(n, MaxTried+1) {
				e, ok := p.Pick(0, &tried)
				if !ok || tried.Has(e) {
					t.Fatalf("%d endpoints, attempt %d: picked %v, %v", n, attempt, e, ok)
				}
				tried.Add(e)
			}
		}
	}
}

func TestTriedBeyondItsBoundForgetsTheFirst(t *testing.T) {
	all := endpoints(MaxTried + 1)
	var tried Tried[int]
	for _, e := range all {
		tried.Add(e)
		tried.Add(e)
	}
	if tried.Len() != MaxTried || tried.Has(all[0]) || !tried.Has(all[1]) || !tried.Has(all[MaxTried]) {
		t.Fatalf("Len = %d, first %v, last %v", tried.Len(), tried.Has(all[0]), tried.Has(all[MaxTried]))
	}
	tried.Reset()
	if tried.Len() != 0 || tried.Has(all[1]) {
		t.Fatal("Reset left something")
	}
}

// A slot whose load is nil panics when it is inspected, so these picks prove that
// nothing but the drawn slots is looked at.
func TestAPickInspectsOnlyWhatItDraws(t *testing.T) {
	const n = 10000
	for tries := range MaxTried + 1 {
		for range 20 {
			r := rand.Uint64()
			slots := make([]slot, n)
			var excluded []*load
			put := func(i int) *load {
				slots[i] = slot{load: new(load), perWeight: 1}
				return slots[i].load
			}
			if tries == 0 {
				first, second := drawPair(n, r)
				put(first)
				put(second)
			} else {
				d := draws{size: n, state: r}
				for range tries {
					i, _ := d.next()
					excluded = append(excluded, put(i))
				}
				for range 2 {
					i, _ := d.next()
					put(i)
				}
			}
			if i := choose(slots, excluded, 0, r); i < 0 || slices.Contains(excluded, slots[i].load) {
				t.Fatalf("choose after %d tries = %d", tries, i)
			}
		}
	}
}

func TestDrawsAreDistinctAndComplete(t *testing.T) {
	for size := range MaxTried + 3 {
		d := draws{size: size, state: rand.Uint64()}
		seen := make([]bool, size)
		for range size {
			i, ok := d.next()
			if !ok || seen[i] {
				t.Fatalf("size %d: draw %d, %v, after %v", size, i, ok, seen)
			}
			seen[i] = true
		}
		if i, ok := d.next(); ok {
			t.Fatalf("size %d: one draw too many: %d", size, i)
		}
	}
}

func TestPairsAreDistinctAtTheEdges(t *testing.T) {
	for _, n := range []int{2, 3, 10000} {
		for _, r := range []uint64{0, 1, 1<<32 - 1, 1 << 32, 1<<64 - 1, 0xffffffff << 32} {
			a, b := drawPair(n, r)
			if a == b || min(a, b) < 0 || max(a, b) >= n {
				t.Errorf("drawPair(%d, %x) = %d, %d", n, r, a, b)
			}
		}
	}
}

func TestTheOneWithFewerCallsInFlightWins(t *testing.T) {
	all := endpoints(2)
	all[0].Begin()
	p := NewPicker(all)
	for range 100 {
		if e, _ := p.Pick(0, nil); e != all[1] {
			t.Fatal("picked the busy one")
		}
	}
	all[0].Abandon()
	if all[0].InFlight() != 0 || all[0].Latency(0) != 0 {
		t.Fatal("Abandon left a trace")
	}
}

func TestWeightScalesTheShare(t *testing.T) {
	all := []*Endpoint[int]{NewEndpoint("light", 0, 0), NewEndpoint("heavy", 1, 3)}
	p := NewPicker(all)
	const calls = 400
	for range calls { // calls that never end fill up in proportion
		e, _ := p.Pick(0, nil)
		e.Begin()
	}
	if got := all[1].InFlight(); got < calls*3/4-2 || got > calls*3/4+2 {
		t.Fatalf("weight 3 against 1 has %d of %d calls in flight, want three quarters", got, calls)
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	all := endpoints(100)
	p := NewPicker(all)
	var table Table[int]
	table.Update(items(100))
	now := int64(0)
	got := testing.AllocsPerRun(1000, func() {
		var tried Tried[int]
		for range 3 {
			now += int64(time.Millisecond)
			e, _ := p.Pick(now, &tried)
			e.Begin()
			e.End(now, now+1000, true)
			tried.Add(e)
		}
		e, _ := table.Pick(now, nil)
		e.Begin()
		e.Abandon()
	})
	if got != 0 {
		t.Fatalf("allocates %v times, want 0", got)
	}
}
