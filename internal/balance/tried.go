package balance

import "slices"

// MaxTried is how many endpoints one call avoids.
const MaxTried = 64

// Tried is the set of endpoints a call was sent to, for the next attempt to avoid.
// Keep it on the stack of the call. The zero value is empty. It belongs to one
// goroutine. It knows instances, not snapshots: what was tried stays tried when
// the set is updated between two attempts.
type Tried[T any] struct {
	loads [MaxTried]*load
	n     int
	next  int

	careful bool
	due     *Endpoint[T] // what a careful call passed over; see Due
}

// Careful makes picks with the set probe nobody: the call must not run twice, nor hang on
// an instance that is likely not to answer. See [Tried.Due].
func (t *Tried[T]) Careful() { t.careful = true }

// Due returns an instance whose probe a careful pick met and passed over, or nil: it is to be asked
// for a sign of life in another way, see [Endpoint.Answers]. It is returned once.
func (t *Tried[T]) Due() *Endpoint[T] {
	e := t.due
	t.due = nil
	return e
}

// Add adds e. Beyond [MaxTried] it replaces the one added first.
func (t *Tried[T]) Add(e *Endpoint[T]) {
	if slices.Contains(t.loads[:t.n], e.load) {
		return
	}
	t.loads[t.next] = e.load
	t.next = (t.next + 1) % MaxTried
	t.n = min(t.n+1, MaxTried)
}

// Has reports whether e, or another endpoint of the same instance, was added.
func (t *Tried[T]) Has(e *Endpoint[T]) bool { return slices.Contains(t.loads[:t.n], e.load) }

// Len is the number of endpoints added, at most [MaxTried].
func (t *Tried[T]) Len() int { return t.n }

// Reset empties the set. One that is careful stays so.
func (t *Tried[T]) Reset() { *t = Tried[T]{careful: t.careful, due: t.due} }

// terms are the terms of a pick with the set; t may be nil.
func (t *Tried[T]) terms(now, slowStart int64) *terms {
	return &terms{now: now, slowStart: slowStart, avoided: t.avoided(), careful: t != nil && t.careful}
}

// avoided is what a pick avoids; t may be nil.
func (t *Tried[T]) avoided() []*load {
	if t == nil {
		return nil
	}
	return t.loads[:t.n]
}
