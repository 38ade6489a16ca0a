package balance

import (
	"iter"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// Key makes picks of the same hash go to the same instance. The zero Key is no
// key.
type Key struct {
	// Hash identifies what is to stay together. It need not be mixed well.
	Hash uint64
	// Set says that there is a key.
	Set bool
}

// Group is a view on a set: the endpoints that match, as of the last update.
type Group[T any] struct {
	ward    *ward
	match   func(T) bool
	options GroupOptions // resolved

	view     atomic.Pointer[view[T]]
	ring     atomic.Pointer[ring[T]]
	building sync.Mutex       // held while a ring is made
	turns    [2]atomic.Uint64 // the turns of round robin, by part

	// The fields below are guarded by ward.mu, except for the counts of the pools.
	base   [2]pool[T] // all members: those of the own zone and the others, if split
	kept   [2]pool[T] // the members that this client keeps, if subset
	split  bool
	subset bool
	// unranked says of each part that a new member was not compared with those that are kept.
	unranked [2]bool
	epoch    uint64
	changed  bool
	seed     uint64         // seeds the ranks of members
	zones    map[string]int // members by zone
	weights  map[uint32]int // members by weight
}

// view is what a pick sees of a group.
type view[T any] struct {
	quick     part[T] // what all picks draw from, if there is one such part
	base      [2]part[T]
	kept      [2]part[T]
	split     bool
	subset    bool
	uniform   bool    // in weight
	topWeight float64 // the greatest
	local     float64 // the share of the picks that is for the own zone
	slowStart int64
	epoch     uint64 // changes with the members and their weights
}

func newGroup[T any](w *ward, match func(T) bool, o GroupOptions) *Group[T] {
	g := &Group[T]{ward: w, match: match, options: o, zones: make(map[string]int), weights: make(map[uint32]int)}
	for i := range 2 {
		g.turns[i].Store(uint64(rand.Uint32())) //nolint:gosec // so that clients begin with different instances
		w.enrollLocked(&g.base[i].census)
		w.enrollLocked(&g.kept[i].census)
	}
	return g
}

func (g *Group[T]) dismissLocked() {
	for i := range 2 {
		g.ward.dismissLocked(&g.base[i].census)
		g.ward.dismissLocked(&g.kept[i].census)
	}
}

func (g *Group[T]) matches(e *Endpoint[T]) bool { return g.match == nil || g.match(e.value) }

// Pick returns an instance that is not in tried, which may be nil, and not barred.
// It is false when there is none. It prefers instances that are not ejected and not
// silent, unless the call is the probe of one, and then the ejected to the silent. Tried
// is not changed. A pick inspects at most [MaxDraws] instances in each of the two
// zone parts, unless as many of the group are out; then at most one more than are.
func (g *Group[T]) Pick(now int64, tried *Tried[T], key Key) (*Endpoint[T], bool) {
	g.ward.tick(now)
	v := g.view.Load()
	if key.Set {
		return g.pickKeyed(v, now, tried, key.Hash)
	}
	r := rand.Uint64() //nolint:gosec // spreads load, guards nothing
	if tried == nil || tried.n == 0 {
		if i := chooseQuickly(v.quick.slots, now, r); i >= 0 {
			return *v.quick.endpoints.at(i), true
		}
	}
	return g.pick(v, now, tried, r)
}

// pick is Pick without a key; r is all the randomness.
func (g *Group[T]) pick(v *view[T], now int64, tried *Tried[T], r uint64) (*Endpoint[T], bool) {
	t := tried.terms(now, v.slowStart)
	e := g.pickKept(v, t, r)
	if e == nil {
		t.heedless = g.panics(&g.base, &v.base)
		e = g.pickBase(v, t, r)
	}
	g.tell(v, t, tried)
	return e, e != nil
}

// pickKept picks from those that this client keeps; nil if there is nobody fit, or no subset.
func (g *Group[T]) pickKept(v *view[T], t *terms, r uint64) *Endpoint[T] {
	if !v.subset {
		return nil
	}
	t.heedless = g.panics(&g.kept, &v.kept)
	return g.pickFrom(v, &v.kept, &g.kept, t, r)
}

// tell notes the probe that a careful pick met. Probes are seldom due, so that a look at
// all members costs little.
func (g *Group[T]) tell(v *view[T], t *terms, tried *Tried[T]) {
	if t.due == nil {
		return
	}
	for _, p := range &v.base {
		for i := range p.slots.n {
			if p.slots.at(i).load == t.due {
				tried.due = *p.endpoints.at(i)
				return
			}
		}
	}
}

// pickBase picks from all members; from the ejected ones only if none else is left, and
// from the silent ones only if none of these is.
func (g *Group[T]) pickBase(v *view[T], t *terms, r uint64) *Endpoint[T] {
	e := g.pickFrom(v, &v.base, &g.base, t, r)
	if e == nil {
		t.heedless, t.desperate = true, true
		e = g.pickFrom(v, &v.base, &g.base, t, r)
	}
	return e
}

// pickFrom picks from one part or, if there is nobody fit, from the other.
func (g *Group[T]) pickFrom(v *view[T], parts *[2]part[T], pools *[2]pool[T], t *terms, r uint64) *Endpoint[T] {
	first := 0
	if v.split && !stays(v.local, parts[0].slots.n, pools[0].out(!t.heedless), r) {
		first = 1
	}
	for _, p := range [2]int{first, 1 - first} {
		var i int
		if g.options.Policy == RoundRobin {
			i = v.turn(parts[p].slots, &g.turns[p], t, r)
		} else {
			i = choose(parts[p].slots, t, r)
		}
		if i >= 0 {
			return *parts[p].endpoints.at(i)
		}
	}
	return nil
}

// panics reports whether so few are available that ejections are not heeded.
func (g *Group[T]) panics(pools *[2]pool[T], parts *[2]part[T]) bool {
	if g.ward.next.Load() == 0 {
		return false
	}
	total := parts[0].slots.n + parts[1].slots.n
	out := pools[0].out(true) + pools[1].out(true)
	return float64(total-out) < g.options.Panic*float64(total)
}

// Health is how many members are neither barred nor ejected at now, and how many
// there are. It is O(1), except for the first call after a bar or an ejection ends.
func (g *Group[T]) Health(now int64) (available, total int) {
	g.ward.tick(now)
	total = g.Len()
	return max(0, total-g.base[0].out(true)-g.base[1].out(true)), total
}

// Standing is how many members are not barred at now: those that a pick returns,
// if it must.
func (g *Group[T]) Standing(now int64) int {
	g.ward.tick(now)
	return max(0, g.Len()-g.base[0].out(false)-g.base[1].out(false))
}

// Len is the number of members.
func (g *Group[T]) Len() int {
	v := g.view.Load()
	return v.base[0].slots.n + v.base[1].slots.n
}

// Members are all members, whatever their health, as of the beginning of the
// iteration; their order means nothing.
func (g *Group[T]) Members() iter.Seq[*Endpoint[T]] {
	return func(yield func(*Endpoint[T]) bool) {
		v := g.view.Load()
		for _, p := range &v.base {
			for i := range p.endpoints.n {
				if !yield(*p.endpoints.at(i)) {
					return
				}
			}
		}
	}
}
