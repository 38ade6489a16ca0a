package balance

import "slices"

// slot is what the choice needs of one endpoint, so that the choice is not
// generic and touches two cache lines per candidate: the slot and the load.
type slot struct {
	load      *load
	perWeight float64 // 1/weight
}

// terms are what a choice depends on beside the slots.
type terms struct {
	now       int64
	slowStart int64   // nanoseconds from the floor to the whole share
	avoided   []*load // what the call was sent to already
	heedless  bool    // an ejected instance is as good as any
	desperate bool    // a silent instance is better than nobody
	careful   bool    // the call must not probe
	due       *load   // the probe that such a call met
}

// open reports whether a pick may return the instance at all.
func (t *terms) open(l *load) bool {
	return (l.special.Load() <= t.now || l.barred.Load() <= t.now) && !slices.Contains(t.avoided, l)
}

// shunned reports whether an open instance is passed over while there are others.
func (t *terms) shunned(l *load) bool {
	return !t.heedless && l.special.Load() > t.now && l.ejected.Load() > t.now || l.silent(t.now, SilenceFloor)
}

// fit reports whether a pick may return the instance while there are others. It does
// if it is shunned and its probe is due, of which the call is then the one.
func (t *terms) fit(l *load) bool { return t.open(l) && (!t.shunned(l) || t.probes(l)) }

// share is what slow start leaves of the instance's share.
func (t *terms) share(l *load) float64 {
	if l.special.Load() <= t.now {
		return 1
	}
	return l.share(t.now, t.slowStart)
}

// choose returns the index of the chosen slot, or -1 if none is fit. It is a pure
// function of its arguments and the loads: r is all the randomness of one pick.
func choose(slots vector[slot], t *terms, r uint64) int {
	switch slots.n {
	case 0:
		return -1
	case 1:
		if l := slots.at(0).load; t.fit(l) || t.desperate && t.open(l) {
			return 0
		}
		return -1
	}
	if len(t.avoided) == 0 {
		if i := chooseQuickly(slots, t.now, r); i >= 0 {
			return i
		}
	}
	first, second := drawPair(slots.n, r)
	return chooseAmong(slots, t, r, first, second)
}

// chooseQuickly is choose for the usual case that there is nobody to avoid and
// that nothing is to be said of those it draws; else it returns -1.
func chooseQuickly(slots vector[slot], now int64, r uint64) int {
	if slots.n <= 1 {
		if slots.n == 1 && slots.at(0).load.plain(now) {
			return 0
		}
		return -1
	}
	first, second := drawPair(slots.n, r)
	a, b := *slots.at(first), *slots.at(second)
	if !a.load.plain(now) || !b.load.plain(now) {
		return -1
	}
	if lighter(b, a, now) {
		return second
	}
	return first
}

// chooseAmong is choose where some are to be passed over: it goes on drawing
// distinct slots until two will do. A slot whose share still grows will do with
// that probability, whatever its load, and counts its calls in flight for as many
// more: so it has its share when load decides, and when there is none. It has all
// that those leave which do not answer.
//
// When MaxDraws draws find none that will do, at least as many are out as were not
// tried, and the slots are walked from a random one on to the first that will:
// at most one step more than are out.
func chooseAmong(slots vector[slot], t *terms, r uint64, first, second int) int {
	d := draws{size: slots.n, state: r}
	d.take(first)
	d.take(second)
	best, bestShare, late, shunned := -1, 0.0, -1, -1
	for i, ok := first, true; ok; i, ok = d.following(first, second, i) {
		s := slots.at(i)
		if !t.open(s.load) {
			continue
		}
		if t.shunned(s.load) {
			if t.probes(s.load) {
				return i
			}
			if shunned < 0 || lighter(*s, *slots.at(shunned), t.now) {
				shunned = i
			}
			continue
		}
		share := t.share(s.load)
		switch {
		case share < 1 && float64(d.random()) >= share*(1<<32):
			if late < 0 {
				late = i
			}
		case best < 0:
			best, bestShare = i, share
		case lighterScaled(*s, *slots.at(best), share, bestShare, t.now):
			return i
		default:
			return best
		}
	}
	switch {
	case best >= 0:
		return best
	case late >= 0:
		return late
	case slots.n > MaxDraws:
		return walkFor(slots, t, &d, shunned)
	case t.desperate:
		return shunned
	}
	return -1
}

// walkFor returns the first slot of a walk that is fit, or else, for the desperate, one
// that is shunned: the given one, if there is one.
func walkFor(slots vector[slot], t *terms, d *draws, shunned int) int {
	w := newWalk(slots.n, d)
	for i, ok := w.next(); ok; i, ok = w.next() {
		l := slots.at(i).load
		if t.fit(l) {
			return i
		}
		if shunned < 0 && t.desperate && t.open(l) {
			shunned = i
		}
	}
	if t.desperate {
		return shunned
	}
	return -1
}

// following is the draw after i: the pair first, then the others.
func (d *draws) following(first, second, i int) (int, bool) {
	if d.n == 2 && i == first {
		return second, true
	}
	return d.next()
}

// lighter reports whether a is lighter than b.
func lighter(a, b slot, now int64) bool {
	loadA := float64(a.load.inflight.Load()+1) * a.perWeight
	loadB := float64(b.load.inflight.Load()+1) * b.perWeight
	return faster(a.load, b.load, loadA, loadB, now)
}

// lighterScaled is lighter for slots that have a share of their share.
func lighterScaled(a, b slot, shareA, shareB float64, now int64) bool {
	loadA := (float64(a.load.inflight.Load())/shareA + 1) * a.perWeight
	loadB := (float64(b.load.inflight.Load())/shareB + 1) * b.perWeight
	return faster(a.load, b.load, loadA, loadB, now)
}

// faster compares two loads once their latencies are known, and without them if they
// are not, or count as equal.
func faster(a, b *load, loadA, loadB float64, now int64) bool {
	toleranceA, toleranceB := a.tolerance(), b.tolerance()
	if toleranceA == 0 || toleranceB == 0 {
		return loadA < loadB
	}
	tolerance := max(toleranceA, toleranceB)
	latencyA, latencyB := a.estimate(now), b.estimate(now)
	if latencyA > latencyB*tolerance || latencyB > latencyA*tolerance {
		return loadA*latencyA < loadB*latencyB
	}
	return loadA < loadB
}
