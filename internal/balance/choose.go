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
	heedless  bool    // of ejections
}

// fit reports whether a pick may return the instance.
func (t *terms) fit(l *load) bool {
	if l.special.Load() > t.now &&
		(l.barred.Load() > t.now || !t.heedless && l.ejected.Load() > t.now) {
		return false
	}
	return !slices.Contains(t.avoided, l)
}

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
		if !t.fit(slots.at(0).load) {
			return -1
		}
		return 0
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
		if slots.n == 1 && slots.at(0).load.special.Load() <= now {
			return 0
		}
		return -1
	}
	first, second := drawPair(slots.n, r)
	a, b := *slots.at(first), *slots.at(second)
	if a.load.special.Load() > now || b.load.special.Load() > now {
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
// more: so it has its share when load decides, and when there is none.
//
// When MaxDraws draws find none that is fit, at least as many are out as were not
// tried, and the slots are walked from a random one on to the first that is fit:
// at most one step more than are unfit.
func chooseAmong(slots vector[slot], t *terms, r uint64, first, second int) int {
	d := draws{size: slots.n, state: r}
	d.take(first)
	d.take(second)
	best, bestShare, late := -1, 0.0, -1
	for i, ok := first, true; ok; i, ok = d.following(first, second, i) {
		s := slots.at(i)
		if !t.fit(s.load) {
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
	if best >= 0 {
		return best
	}
	if late >= 0 || slots.n <= MaxDraws {
		return late
	}
	w := newWalk(slots.n, &d)
	for i, ok := w.next(); ok; i, ok = w.next() {
		if t.fit(slots.at(i).load) {
			return i
		}
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
	if a.load.warm() && b.load.warm() {
		return faster(a.load, b.load, loadA, loadB, now)
	}
	return loadA < loadB
}

// lighterScaled is lighter for slots that have a share of their share.
func lighterScaled(a, b slot, shareA, shareB float64, now int64) bool {
	loadA := (float64(a.load.inflight.Load())/shareA + 1) * a.perWeight
	loadB := (float64(b.load.inflight.Load())/shareB + 1) * b.perWeight
	if a.load.warm() && b.load.warm() {
		return faster(a.load, b.load, loadA, loadB, now)
	}
	return loadA < loadB
}

// faster compares what is left of two loads once the latencies are known.
func faster(a, b *load, loadA, loadB float64, now int64) bool {
	latencyA, latencyB := a.estimate(now), b.estimate(now)
	if latencyA > latencyB*LatencyTolerance || latencyB > latencyA*LatencyTolerance {
		return loadA*latencyA < loadB*latencyB
	}
	return loadA < loadB
}
