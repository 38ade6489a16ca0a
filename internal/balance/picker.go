package balance

import (
	"math/rand/v2"
	"slices"
)

// Picker is an immutable snapshot of endpoints to pick from. A nil Picker is
// empty.
type Picker[T any] struct {
	slots     []slot         // what a pick inspects, dense
	endpoints []*Endpoint[T] // the same order
}

// slot is what the choice needs of one endpoint, so that the choice is not
// generic and touches two cache lines per candidate: the slot and the load.
// Zone, ejection and slow start will scale perWeight or replace load here.
type slot struct {
	load      *load
	perWeight float64 // 1/weight
}

// NewPicker returns a snapshot of endpoints, which it copies. Each must be there
// once.
func NewPicker[T any](endpoints []*Endpoint[T]) *Picker[T] {
	p := &Picker[T]{
		slots:     make([]slot, len(endpoints)),
		endpoints: make([]*Endpoint[T], len(endpoints)),
	}
	copy(p.endpoints, endpoints)
	for i, e := range endpoints {
		p.slots[i] = slot{load: e.load, perWeight: 1 / float64(e.weight)}
	}
	return p
}

// Len is the number of endpoints.
func (p *Picker[T]) Len() int {
	if p == nil {
		return 0
	}
	return len(p.endpoints)
}

// At returns endpoint i of Len, in the order of NewPicker.
func (p *Picker[T]) At(i int) *Endpoint[T] { return p.endpoints[i] }

// Pick returns the lighter of two endpoints drawn at random among those that are
// not in tried, which may be nil. It is false when there is none. It inspects at
// most 2 + tried.Len() endpoints.
func (p *Picker[T]) Pick(now int64, tried *Tried[T]) (*Endpoint[T], bool) {
	if p == nil || len(p.slots) == 0 {
		return nil, false
	}
	var excluded []*load
	if tried != nil {
		excluded = tried.loads[:tried.n]
	}
	i := choose(p.slots, excluded, now, rand.Uint64()) //nolint:gosec // spreads load, guards nothing
	if i < 0 {
		return nil, false
	}
	return p.endpoints[i], true
}

// choose returns the index of the chosen slot, or -1. It is a pure function of
// its arguments and the loads: r is all the randomness of one pick.
func choose(slots []slot, excluded []*load, now int64, r uint64) int {
	switch {
	case len(excluded) > 0:
		return chooseAmong(slots, excluded, now, r)
	case len(slots) == 1:
		return 0
	}
	first, second := drawPair(len(slots), r)
	return lighter(slots, first, second, now)
}

// lighter returns the index of the lighter slot, first on a tie.
func lighter(slots []slot, first, second int, now int64) int {
	a, b := slots[first], slots[second]
	loadA := float64(a.load.inflight.Load()+1) * a.perWeight
	loadB := float64(b.load.inflight.Load()+1) * b.perWeight
	if a.load.warm() && b.load.warm() {
		latencyA, latencyB := a.load.estimate(now), b.load.estimate(now)
		if latencyA > latencyB*LatencyTolerance || latencyB > latencyA*LatencyTolerance {
			loadA *= latencyA
			loadB *= latencyB
		}
	}
	if loadB < loadA {
		return second
	}
	return first
}

// chooseAmong is choose with endpoints to avoid: it draws distinct slots until
// two are fit. At most len(excluded) draws are unfit, so it ends after two more.
func chooseAmong(slots []slot, excluded []*load, now int64, r uint64) int {
	d := draws{size: len(slots), state: r}
	first := -1
	for range len(excluded) + 2 {
		i, ok := d.next()
		if !ok {
			break
		}
		if slices.Contains(excluded, slots[i].load) {
			continue
		}
		if first >= 0 {
			return lighter(slots, first, i, now)
		}
		first = i
	}
	return first
}
