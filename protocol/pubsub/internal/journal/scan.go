package journal

import "github.com/linkmesh/link/protocol/pubsub/internal/subject"

// scan looks in the ring for the next message of a lane, from l.next on, and turns messages
// that cannot be delivered into gaps on the way. It returns none when the lane has come to the
// end of the ring. The caller then sets the lane live, which later publishers see.
func (f *feed) scan(l *lane, i int, now int64) state {
	ring := &f.log.ring
	end := ring.end.Load()
	if f.latest == nil && ring.lastOf[i].Load() < l.next {
		l.next = max(l.next, end)
	}
	for l.next < end {
		if f.budget == 0 {
			return busy
		}
		f.budget--
		f.seq = l.next
		f.entry, f.slab = ring.at(f.seq)
		if f.entry == nil {
			if f.class == Reliable {
				return failed
			}
			l.next = max(f.seq+1, min(ring.first.Load(), end))
			l.gaps.add(Gap{Lane: i, Reason: ReasonRetention, From: f.seq, To: l.next - 1}, 0)
			continue
		}
		if !f.mine(i) {
			l.next++
			continue
		}
		// For Latest even an expired message replaces older ones.
		if f.latest != nil {
			return some
		}
		why := f.unfit(now)
		if why == 0 {
			return some
		}
		gap := Gap{Lane: i, Reason: why, From: f.seq, To: f.seq, Count: 1}
		if f.slab == f.log.hole && f.keys != nil {
			// Only the hash of its key matches, so it may not be the subscription's.
			gap.Count = 0
		}
		l.gaps.add(gap, 0)
		l.next++
	}
	return none
}

// mine reports whether the entry that was looked at is the subscription's, and is in the
// lane. A Latest subscription has no lanes.
func (f *feed) mine(lane int) bool {
	e := f.entry
	return (int(e.lane) == lane || f.latest != nil) && f.wants(e, f.slab)
}

// wants reports whether an entry is the subscription's. If its record was not kept, only the
// hash of the key is known, so wants may return true although the key does not match.
func (f *feed) wants(e *entry, s *slab) bool {
	v := &f.known[e.topic.id%uint32(len(f.known))]
	if v.topic != e.topic {
		v.topic, v.mine = e.topic, f.wantsTopic(e.topic.name)
	}
	if !v.mine || f.keys == nil {
		return v.mine
	}
	if s == f.log.hole {
		for k := range f.keys {
			if k == "" && e.hash == 0 || k != "" && e.hash == hash32(k) {
				return true
			}
		}
		return false
	}
	_, ok := f.keys[string(e.keyIn(s))]
	return ok
}

func (f *feed) wantsTopic(name string) bool {
	for _, p := range f.patterns {
		if subject.Match(p, name) {
			return true
		}
	}
	return false
}
