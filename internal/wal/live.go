package wal

// liveSet knows the IDs that have not ended and how many bytes their records take. It holds no
// pointers, so that the garbage collector does not walk through a million of them.
type liveSet struct {
	entries map[uint64]liveID
	bytes   int64
	first   uint32         // number of the oldest segment
	oldest  map[uint32]int // by number of segment: IDs that may have their oldest record there
}

type liveID struct {
	bytes  int64
	oldest uint32 // number of a segment, or of one that is gone: no record of the ID is before it
}

func newLiveSet() liveSet {
	return liveSet{entries: make(map[uint64]liveID), oldest: make(map[uint32]int)}
}

// add counts a record of size bytes in the segment with that number.
func (v *liveSet) add(id uint64, size int64, segment uint32) {
	e, ok := v.entries[id]
	if !ok {
		e.oldest = segment
		v.oldest[segment]++
	}
	e.bytes += size
	v.bytes += size
	v.entries[id] = e
}

// end forgets the ID.
func (v *liveSet) end(id uint64) {
	e, ok := v.entries[id]
	if !ok {
		return
	}
	v.leave(e.oldest)
	v.bytes -= e.bytes
	delete(v.entries, id)
}

// moved says that a record of the ID has been copied out of the segment with that number, which is
// the oldest, and has grown. The next record of the ID may be in the segment after it.
func (v *liveSet) moved(id uint64, grown int64, segment uint32) {
	e, ok := v.entries[id]
	if !ok {
		return
	}
	e.bytes += grown
	v.bytes += grown
	if e.oldest <= segment {
		v.leave(e.oldest)
		e.oldest = segment + 1
		v.oldest[e.oldest]++
	}
	v.entries[id] = e
}

// dropped says that the oldest segment is gone. IDs that had nothing in it after all, or had it
// copied, may have something in the next one.
func (v *liveSet) dropped() {
	if n := v.oldest[v.first]; n > 0 {
		v.oldest[v.first+1] += n
		delete(v.oldest, v.first)
	}
	v.first++
}

func (v *liveSet) leave(segment uint32) {
	segment = max(segment, v.first)
	if v.oldest[segment]--; v.oldest[segment] == 0 {
		delete(v.oldest, segment)
	}
}

func (v *liveSet) has(id uint64) bool {
	_, ok := v.entries[id]
	return ok
}
