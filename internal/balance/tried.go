package balance

import "slices"

// MaxTried is how many endpoints one call avoids at most.
const MaxTried = 64

// Tried is the set of endpoints a call was sent to, which the next attempt avoids.
// Keep it on the stack of the call. The zero value is empty. It is not safe for
// concurrent use. It identifies instances, not snapshots: an instance that was tried
// stays in it when the set is updated between two attempts.
type Tried[T any] struct {
	loads [MaxTried]*load
	n     int
	next  int

	careful bool
	// due is the instance whose probe a careful pick passed over; see Due.
	due *Endpoint[T]
}

// Careful prevents picks with t from probing: the call must not run twice, nor wait for an
// instance that is unlikely to answer. See [Tried.Due].
func (t *Tried[T]) Careful() { t.careful = true }

// Due returns an instance whose probe was due and that a careful pick passed over, or nil. The
// caller must ask it for a sign of life in another way, see [Endpoint.Answers]. It is returned once.
func (t *Tried[T]) Due() *Endpoint[T] {
	e := t.due
	t.due = nil
	return e
}

// Add adds e. Beyond [MaxTried] it replaces the oldest one.
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

// Len returns the number of endpoints added, at most [MaxTried].
func (t *Tried[T]) Len() int { return t.n }

// Reset empties the set. A careful set stays careful, and what Due returns stays.
func (t *Tried[T]) Reset() { *t = Tried[T]{careful: t.careful, due: t.due} }

// terms returns the terms of a pick with t, which may be nil.
func (t *Tried[T]) terms(now, slowStart int64) *terms {
	return &terms{now: now, slowStart: slowStart, avoided: t.avoided(), careful: t != nil && t.careful}
}

// avoided returns the instances that a pick avoids. t may be nil.
func (t *Tried[T]) avoided() []*load {
	if t == nil {
		return nil
	}
	return t.loads[:t.n]
}
