package wal

// liveSet knows the IDs that have not ended and how many bytes their records take. It holds no
// pointers, so that the garbage collector does not walk through a million of them.
type liveSet struct {
	entries map[uint64]liveID
	bytes   int64
	first   uint32             // number of the oldest segment
	oldest  map[uint32]liveIDs // by number of segment: IDs that may have their oldest record there
}

// liveIDs are IDs, and the bytes of all their records.
type liveIDs struct {
	n     int
	bytes int64
}

type liveID struct {
	bytes  int64
	oldest uint32 // number of a segment, or of one that is gone: no record of the ID is before it
}

func newLiveSet() liveSet {
	return liveSet{entries: make(map[uint64]liveID), oldest: make(map[uint32]liveIDs)}
}

// add counts a record of size bytes in the segment with that number.
func (v *liveSet) add(id uint64, size int64, segment uint32) {
	e, ok := v.entries[id]
	if !ok {
		e.oldest = segment
		v.enter(segment, 1, size)
	} else {
		v.enter(e.oldest, 0, size)
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
	v.enter(e.oldest, -1, -e.bytes)
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
	from := e.oldest
	e.oldest = max(e.oldest, segment+1)
	v.enter(from, -1, -e.bytes)
	e.bytes += grown
	v.bytes += grown
	v.enter(e.oldest, 1, e.bytes)
	v.entries[id] = e
}

// dropped says that the oldest segment is gone. IDs that had nothing in it after all, or had it
// copied, may have something in the next one.
func (v *liveSet) dropped() {
	left := v.oldest[v.first]
	delete(v.oldest, v.first)
	v.first++
	if left.n > 0 {
		v.enter(v.first, left.n, left.bytes)
	}
}

// enter counts n more IDs, and their bytes, whose oldest records may be in a segment, or in
// the oldest there is.
func (v *liveSet) enter(segment uint32, n int, bytes int64) {
	segment = max(segment, v.first)
	at := v.oldest[segment]
	at.n += n
	at.bytes += bytes
	if at.n == 0 {
		delete(v.oldest, segment)
		return
	}
	v.oldest[segment] = at
}

func (v *liveSet) has(id uint64) bool {
	_, ok := v.entries[id]
	return ok
}
