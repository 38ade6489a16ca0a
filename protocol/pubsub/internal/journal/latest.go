package journal

import "hash/maphash"

// latest holds the newest number of each topic and key. A key keeps its place while newer
// numbers replace older ones, so that a key that changes all the time is delivered as often
// as the others.
type latest struct {
	seed maphash.Seed
	// slots is a ring. Its length is a power of two.
	slots   []place
	head, n int
	// popped counts the places that were popped, which is the position of head.
	popped int
	// index maps the hash of a topic and key to the position of its place.
	index map[uint64]int
}

// place has the number that took it, and the newest number.
type place struct {
	first uint64
	seq   uint64
	hash  uint64
}

func newLatest() *latest {
	return &latest{seed: maphash.MakeSeed(), index: make(map[uint64]int)}
}

func (t *latest) front() *place { return &t.slots[t.head] }

// put enters a message and returns the number that it replaces, 0 if none. ok is false if
// there is no room for one more key.
func (t *latest) put(r *ring, seq uint64, e *entry, s *slab, room func(from, to int) bool) (old uint64, ok bool) {
	h := maphash.String(t.seed, e.topic.name)
	if e.keyLen > 0 {
		h = h*31 + maphash.Bytes(t.seed, e.keyIn(s))
	}
	if at, ok := t.index[h]; ok {
		p := &t.slots[(t.head+at-t.popped)&(len(t.slots)-1)]
		if had, hs := r.at(p.seq); had == nil || sameKey(had, hs, e, s) {
			old, p.seq = p.seq, seq
			return old, true
		}
		// Two keys have the same hash: both stay, and only the newer can be replaced.
	}
	if t.n == len(t.slots) {
		more := max(2*t.n, queueStart)
		if !room(t.n*placeCost, more*placeCost) {
			return 0, false
		}
		slots := make([]place, more)
		for i := range t.n {
			slots[i] = t.slots[(t.head+i)&(len(t.slots)-1)]
		}
		t.slots, t.head = slots, 0
	}
	t.slots[(t.head+t.n)&(len(t.slots)-1)] = place{seq, seq, h}
	t.index[h] = t.popped + t.n
	t.n++
	return 0, true
}

func sameKey(a *entry, as *slab, b *entry, bs *slab) bool {
	return a.topic.name == b.topic.name && a.hash == b.hash && string(a.keyIn(as)) == string(b.keyIn(bs))
}

func (t *latest) pop() {
	if h := t.front().hash; t.index[h] == t.popped {
		delete(t.index, h)
	}
	t.head = (t.head + 1) & (len(t.slots) - 1)
	t.n--
	t.popped++
	if t.n == 0 && len(t.slots) > queueIdle {
		t.slots, t.head = nil, 0
		t.index = make(map[uint64]int)
	}
}

func (f *feed) popLatest() {
	had := len(f.latest.slots)
	if f.latest.pop(); len(f.latest.slots) < had {
		f.backlog.grow(had*placeCost, 0)
	}
}

func (f *feed) pushLatest(seq uint64, e *entry) (queued, dropped int) {
	l := &f.lanes[laneNormal]
	if !l.live || seq < l.next {
		return 1, 0
	}
	l.next = seq + 1
	return 1, f.putLatest(seq, e, e.slab.Load())
}

// putLatest enters a message, and returns how many messages were dropped for lack of room.
func (f *feed) putLatest(seq uint64, e *entry, s *slab) (dropped int) {
	if s == f.log.hole {
		f.drop(laneNormal, seq, ReasonRetention, 0)
		return 0
	}
	old, ok := f.latest.put(&f.log.ring, seq, e, s, f.backlog.grow)
	if !ok {
		f.drop(laneNormal, f.latest.front().seq, ReasonOverflow, 0)
		f.popLatest()
		dropped++
		old, _ = f.latest.put(&f.log.ring, seq, e, s, f.backlog.grow)
	}
	if old != 0 {
		f.drop(laneNormal, old, ReasonConflated, 0)
	}
	if f.latest.n > f.limits.Messages {
		f.drop(laneNormal, f.latest.front().seq, ReasonOverflow, 0)
		f.popLatest()
		dropped++
	}
	return dropped
}

// peekLatest reads the ring to its end before it delivers, so that it delivers no value that
// is known to be old, and after a resume no value that is older than what the subscriber has.
func (f *feed) peekLatest(now int64) state {
	l := &f.lanes[laneNormal]
	f.at = laneNormal
	for !l.live {
		s := f.scan(l, laneNormal, now)
		if s == busy {
			return busy
		}
		if s == none {
			l.live = true
			break
		}
		f.putLatest(f.seq, f.entry, f.slab)
		l.next++
	}
	for f.latest.n > 0 {
		f.seq = f.latest.front().seq
		f.entry, f.slab = f.log.ring.at(f.seq)
		why := f.unfit(now)
		if why == 0 {
			break
		}
		if f.budget == 0 {
			return busy
		}
		f.budget--
		f.popLatest()
		f.drop(laneNormal, f.seq, why, 0)
	}
	switch {
	case l.gaps.len() > 0:
		f.until = never
		return told
	case f.latest.n > 0:
		return some
	default:
		return none
	}
}
