package balance

import "slices"

const (
	chunkBits = 6
	chunkSize = 1 << chunkBits
)

// vector is an immutable sequence in chunks. A changed copy shares the chunks that
// did not change, so one change among n elements copies a chunk and n/64 pointers.
type vector[E any] struct {
	chunks []*[chunkSize]E
	n      int
}

func (v vector[E]) at(i int) *E { return &v.chunks[i>>chunkBits][i&(chunkSize-1)] }

// editor builds the next vector. It never writes to a vector that it has shared: it
// copies the root and each chunk at the first write after share. The zero value is
// empty.
type editor[E any] struct {
	vector[E]
	ownsRoot bool
	epoch    uint64
	// owned holds, for each chunk, the epoch in which it was copied.
	owned []uint64
}

// share returns the current vector, which later writes do not change.
func (w *editor[E]) share() vector[E] {
	w.ownsRoot = false
	w.epoch++
	return w.vector
}

func (w *editor[E]) set(i int, e E) { w.own(i >> chunkBits)[i&(chunkSize-1)] = e }

func (w *editor[E]) push(e E) {
	if w.n&(chunkSize-1) == 0 {
		w.ownRoot()
		w.chunks = append(w.chunks, new([chunkSize]E))
		w.owned = append(w.owned, w.epoch)
	}
	w.n++
	w.set(w.n-1, e)
}

// pop removes the last element and clears its place, so that it can be collected.
func (w *editor[E]) pop() {
	w.n--
	if w.n&(chunkSize-1) != 0 {
		var zero E
		w.set(w.n, zero)
		return
	}
	w.ownRoot()
	last := len(w.chunks) - 1
	w.chunks[last] = nil
	w.chunks, w.owned = w.chunks[:last], w.owned[:last]
}

func (w *editor[E]) own(chunk int) *[chunkSize]E {
	if w.owned[chunk] != w.epoch {
		w.ownRoot()
		c := *w.chunks[chunk]
		w.chunks[chunk], w.owned[chunk] = &c, w.epoch
	}
	return w.chunks[chunk]
}

func (w *editor[E]) ownRoot() {
	if !w.ownsRoot {
		w.chunks, w.ownsRoot = slices.Clone(w.chunks), true
	}
}
