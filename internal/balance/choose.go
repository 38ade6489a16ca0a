package balance

import "slices"

// slot is the part of an endpoint that the choice needs, so that the choice is not
// generic and touches two cache lines per candidate: the slot and the load.
type slot struct {
	load *load
	// perWeight is 1/weight.
	perWeight float64
}

// terms holds what a choice depends on besides the slots.
type terms struct {
	now int64
	// slowStart is how many nanoseconds a share takes to grow from the floor to the whole.
	slowStart int64
	// avoided holds the instances that the call was sent to already.
	avoided []*load
	// heedless means that ejections are ignored.
	heedless bool
	// desperate means that a silent instance is returned if there is no other.
	desperate bool
	// careful means that the call must not probe. due is the instance that it met whose
	// probe is due.
	careful bool
	due     *load
}

// open reports whether a pick may return the instance at all.
func (t *terms) open(l *load) bool {
	return (l.special.Load() <= t.now || l.barred.Load() <= t.now) && !slices.Contains(t.avoided, l)
}

// shunned reports whether an open instance is passed over while there are others.
func (t *terms) shunned(l *load) bool {
	return !t.heedless && l.special.Load() > t.now && l.ejected.Load() > t.now || l.silent(t.now, SilenceFloor)
}

// fit reports whether a pick may return the instance while there are others. A shunned
// instance is fit if its probe is due; the call is then the probe.
func (t *terms) fit(l *load) bool { return t.open(l) && (!t.shunned(l) || t.probes(l)) }

// share returns the fraction of its share that slow start grants the instance.
func (t *terms) share(l *load) float64 {
	if l.special.Load() <= t.now {
		return 1
	}
	return l.share(t.now, t.slowStart)
}

// choose returns the index of the chosen slot, or -1 if none is fit. The result depends
// on its arguments and the loads alone: all randomness of a pick comes from r.
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

// chooseQuickly is choose for the usual case: there are no instances to avoid, and
// those that it draws are plain. Otherwise it returns -1.
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

// chooseAmong is choose if some slots must be passed over: it draws distinct slots
// until two are acceptable. A slot in slow start is accepted with the probability of
// its share, whatever its load, and its calls in flight count divided by that share.
// Thus it gets its share when load decides, and when there is no load. If the other
// instances do not answer, it gets all calls.
//
// If MaxDraws draws find no acceptable slot, each of those is out or was tried. The
// slots are then walked from a random one to the first that is acceptable, which takes
// at most one step more than slots are out.
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

// walkFor returns the first slot of a walk that is fit. If there is none and t is
// desperate, it returns shunned, or, if that is -1, the first shunned slot of the walk.
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

// following returns the draw after i: second after first, then new draws.
func (d *draws) following(first, second, i int) (int, bool) {
	if d.n == 2 && i == first {
		return second, true
	}
	return d.next()
}
