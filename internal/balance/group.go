package balance

import (
	"iter"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// Key makes picks with the same hash go to the same instance. The zero Key means
// no key.
type Key struct {
	// Hash identifies the calls that belong together. It need not be mixed well.
	Hash uint64
	// Set is true if there is a key.
	Set bool
}

// Group is a view of a set: the endpoints that match, as of the last update.
type Group[T any] struct {
	ward  *ward
	match func(T) bool
	// options has its defaults filled in.
	options GroupOptions

	view atomic.Pointer[view[T]]
	ring atomic.Pointer[ring[T]]
	// building is held while a ring is built.
	building sync.Mutex
	// turns holds the sequence numbers of round robin, by part.
	turns [2]atomic.Uint64

	// The fields below are guarded by ward.mu, except for the counts of the pools.

	// base holds all members: if split, those of the client's zone, then the others.
	base [2]pool[T]
	// kept holds the members that this client keeps, if subset.
	kept   [2]pool[T]
	split  bool
	subset bool
	// unranked is set for a part with a new member that was not compared with the kept ones.
	unranked [2]bool
	epoch    uint64
	changed  bool
	// seed seeds the ranks of members.
	seed uint64
	// zones and weights count the members by zone and by weight.
	zones   map[string]int
	weights map[uint32]int
}

// view is an immutable snapshot of a group for picks.
type view[T any] struct {
	// quick is the part that all picks draw from, if there is only one.
	quick  part[T]
	base   [2]part[T]
	kept   [2]part[T]
	split  bool
	subset bool
	// uniform is set if all weights are equal.
	uniform bool
	// topWeight is the greatest weight. It is set for round robin only.
	topWeight float64
	// local is the fraction of picks that stay in the client's zone, if split.
	local     float64
	slowStart int64
	// epoch changes with the members and their weights.
	epoch uint64
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

// Pick returns an instance that is neither barred nor in tried, which may be nil. It
// returns false if there is none. It prefers instances that are neither ejected nor
// silent, unless the call is the probe of one, and prefers ejected instances to silent
// ones. Pick adds nothing to tried. It inspects at most [MaxDraws] instances in each of
// the two zone parts, unless as many of the group are out; then at most one more than
// are out.
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

// pick is Pick without a key. All its randomness comes from r.
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

// pickKept picks from the subset of this client. It returns nil if no member is fit, or if there is no
// subset.
func (g *Group[T]) pickKept(v *view[T], t *terms, r uint64) *Endpoint[T] {
	if !v.subset {
		return nil
	}
	t.heedless = g.panics(&g.kept, &v.kept)
	return g.pickFrom(v, &v.kept, &g.kept, t, r)
}

// tell stores in tried the instance whose probe a careful pick met. Probes are rarely due,
// so searching all members costs little.
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

// pickBase picks from all members. It returns an ejected one only if no other is left, and a
// silent one only if there is no ejected one either.
func (g *Group[T]) pickBase(v *view[T], t *terms, r uint64) *Endpoint[T] {
	e := g.pickFrom(v, &v.base, &g.base, t, r)
	if e == nil {
		t.heedless, t.desperate = true, true
		e = g.pickFrom(v, &v.base, &g.base, t, r)
	}
	return e
}

// pickFrom picks from one part or, if no member of it is fit, from the other.
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

// panics reports whether so few members are available that ejections are ignored.
func (g *Group[T]) panics(pools *[2]pool[T], parts *[2]part[T]) bool {
	if g.ward.next.Load() == 0 {
		return false
	}
	total := parts[0].slots.n + parts[1].slots.n
	out := pools[0].out(true) + pools[1].out(true)
	return float64(total-out) < g.options.Panic*float64(total)
}

// Health returns how many members are neither barred nor ejected at now, and the number
// of members. It is O(1), except for the first call after a bar or an ejection ends.
func (g *Group[T]) Health(now int64) (available, total int) {
	g.ward.tick(now)
	total = g.Len()
	return max(0, total-g.base[0].out(true)-g.base[1].out(true)), total
}

// Standing returns how many members are not barred at now: those that a pick may
// return if there are no better ones.
func (g *Group[T]) Standing(now int64) int {
	g.ward.tick(now)
	return max(0, g.Len()-g.base[0].out(false)-g.base[1].out(false))
}

// Len returns the number of members.
func (g *Group[T]) Len() int {
	v := g.view.Load()
	return v.base[0].slots.n + v.base[1].slots.n
}

// Members returns an iterator over all members, whatever their health, as of the
// beginning of the iteration, in no particular order.
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
