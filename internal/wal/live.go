package wal

// liveSet holds the IDs that have not ended and how many bytes their records take. Its maps hold no
// pointers, so that the garbage collector does not scan a million entries.
type liveSet struct {
	entries map[uint64]liveID
	bytes   int64
	// first is the number of the oldest segment.
	first uint32
	// oldest counts, by segment number, the IDs whose oldest record may be in that segment.
	oldest map[uint32]liveIDs
}

// liveIDs is a number of IDs, and the bytes of all their records.
type liveIDs struct {
	n     int
	bytes int64
}

type liveID struct {
	bytes int64
	// oldest is the number of a segment, which may be gone. No record of the ID is in an earlier one.
	oldest uint32
}

func newLiveSet() liveSet {
	return liveSet{entries: make(map[uint64]liveID), oldest: make(map[uint32]liveIDs)}
}

// add counts a record of size bytes in the given segment.
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

// end removes the ID.
func (v *liveSet) end(id uint64) {
	e, ok := v.entries[id]
	if !ok {
		return
	}
	v.enter(e.oldest, -1, -e.bytes)
	v.bytes -= e.bytes
	delete(v.entries, id)
}

// moved records that a record of the ID has been copied out of the given segment, which is the
// oldest, and takes grown more bytes than before. The next record of the ID may be in the segment
// after that one.
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

// dropped records that the oldest segment is gone. IDs that had no records in it after all, or whose
// records were copied, may have records in the next segment.
func (v *liveSet) dropped() {
	left := v.oldest[v.first]
	delete(v.oldest, v.first)
	v.first++
	if left.n > 0 {
		v.enter(v.first, left.n, left.bytes)
	}
}

// enter adds n IDs and their bytes to the count of the segment that may hold their oldest records, or
// to that of the oldest existing segment if the given one is gone. Both numbers may be negative.
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
