package balance

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/hash"
)

const (
	// LoadFactor is how many times the average load an instance may have before picks
	// with a key pass it over (Mirrokni, Thorup and Zadimoghaddam, SODA 2018). Vimeo
	// and HAProxy use the same factor.
	LoadFactor = 1.25

	// LoadFloor is how many calls in flight an instance accepts from picks with a key,
	// whatever the average is: so few calls do not queue on a machine with several cores.
	// Without it, the calls of a key would leave an instance that has no others.
	LoadFloor = 16

	// MaxPlaces is how many places of the table one pick looks at.
	MaxPlaces = 64

	// RingEvery is the least time between two tables of a group of more than RingFree
	// members. Building one takes about 1 ms, and 3 ms for 10,000 members.
	RingEvery = 100 * time.Millisecond

	// RingFree is the largest number of members for which each change leads to a new
	// table at once.
	RingFree = 1000

	// surveyed is how many members' calls in flight one pick counts afresh.
	surveyed = 8
)

// ring is the lookup table of the members of one view, and a count of their calls in
// flight. It keeps the view until the next ring is built.
type ring[T any] struct {
	view *view[T]
	// made is when the ring was built, on the caller's scale.
	made int64
	// table holds the index of a member for each place.
	table []uint32
	// weights is the sum of the weights.
	weights float64

	// Counting the calls of all members for each pick would cost O(n), and one counter
	// for all calls would be a bottleneck even for picks without keys. Therefore each pick
	// looks at a few members in turn, and corrects the sum by what changed in them. seen
	// holds the calls in flight of each member when it was last looked at; sum is their sum.
	seen   []atomic.Int64
	sum    atomic.Int64
	cursor atomic.Uint64
}

// pickKeyed picks the member in the place of key, or in the first place after it
// whose member is fit and can take one more call.
func (g *Group[T]) pickKeyed(v *view[T], now int64, tried *Tried[T], key uint64) (*Endpoint[T], bool) {
	r, current := g.ringOf(v, now), v
	// The epochs differ while the new ring is being built, or if it is too early for one.
	if r.view.epoch != v.epoch {
		v = r.view
	}
	place := hash.SplitMix(key)
	t := tried.terms(now, v.slowStart)
	t.heedless = g.panics(&g.base, &v.base)
	e := r.pick(v, t, place)
	if e == nil {
		e = g.pickBase(current, t, place)
	}
	g.tell(current, t, tried)
	return e, e != nil
}

// pick returns the first member, from a place of the table on, that is fit and has room. The
// place is from, modulo the size of the table. It returns nil if the first MaxPlaces places
// have none.
func (r *ring[T]) pick(v *view[T], t *terms, from uint64) *Endpoint[T] {
	if len(r.table) == 0 {
		return nil
	}
	perWeight := LoadFactor * float64(r.survey(v)+1) / r.weights
	place := int(from % TableSize)
	for range MaxPlaces {
		p, i := v.locate(int(r.table[place]))
		s := v.base[p].slots.at(i)
		if t.keeps(s.load) && hasRoom(s, perWeight) {
			return *v.base[p].endpoints.at(i)
		}
		if place++; place == TableSize {
			place = 0
		}
	}
	return nil
}

// keeps reports whether the calls of a key stay with the instance.
func (t *terms) keeps(l *load) bool {
	if !t.open(l) {
		return false
	}
	out := !t.heedless && l.special.Load() > t.now && l.ejected.Load() > t.now
	return !out && !l.silent(t.now, SilenceKeyed) || t.probes(l)
}

// hasRoom reports whether one more call is within the bound.
func hasRoom(s *slot, perWeight float64) bool {
	const rounding = 1e-9
	return float64(s.load.inflight.Load()+1) <= max(LoadFloor, math.Ceil(perWeight/s.perWeight-rounding))
}

// locate maps an index below the number of members to a part and its index there.
func (v *view[T]) locate(i int) (part, at int) {
	if n := v.base[0].slots.n; i >= n {
		return 1, i - n
	}
	return 0, i
}

// ringOf returns the ring of v, and builds it if necessary. While another pick builds
// it, or within RingEvery of the last ring, it returns the last ring, which can still
// be used: those of its members that left are barred.
func (g *Group[T]) ringOf(v *view[T], now int64) *ring[T] {
	r := g.ring.Load()
	switch {
	case r == nil:
		g.building.Lock()
	case r.view.epoch == v.epoch,
		len(r.seen) > RingFree && now >= r.made && now-r.made < int64(RingEvery),
		!g.building.TryLock():
		return r
	}
	defer g.building.Unlock()
	if r = g.ring.Load(); r != nil && r.view.epoch >= v.epoch {
		return r
	}
	r = newRing(v, now)
	g.ring.Store(r)
	return r
}

func newRing[T any](v *view[T], now int64) *ring[T] {
	n := v.base[0].slots.n + v.base[1].slots.n
	r := &ring[T]{view: v, made: now, seen: make([]atomic.Int64, n)}
	seats := make([]seat, n)
	for k := range n {
		p, i := v.locate(k)
		e := *v.base[p].endpoints.at(i)
		seats[k] = seat{key: e.key, hash: hashOf(e.key), weight: e.weight, index: uint32(k)}
		r.weights += float64(e.weight)
		inflight := e.InFlight()
		r.seen[k].Store(inflight)
		r.sum.Add(inflight)
	}
	r.table = maglev(seats)
	return r
}

// survey returns the calls in flight of all members. The number is exact for up to
// surveyed members; for n members, each was last counted within n/surveyed picks.
func (r *ring[T]) survey(v *view[T]) int64 {
	n := len(r.seen)
	k := min(n, surveyed)
	at := int((r.cursor.Add(uint64(k)) - uint64(k)) % uint64(n))
	for range k {
		p, i := v.locate(at)
		now := v.base[p].slots.at(i).load.inflight.Load()
		if now != r.seen[at].Load() {
			r.sum.Add(now - r.seen[at].Swap(now))
		}
		if at++; at == n {
			at = 0
		}
	}
	return max(r.sum.Load(), 0)
}
