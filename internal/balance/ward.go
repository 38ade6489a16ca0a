package balance

import (
	"container/heap"
	"slices"
	"sync"
	"sync/atomic"
)

// ward is the part of a set that does not depend on its type of values: the options,
// and the instances in trouble. An instance without trouble takes no space in it.
type ward struct {
	// next is when the first trouble is due, 0 if there is none.
	next atomic.Int64
	// errors is Outlier.Errors, 0 if ejection is off.
	errors atomic.Uint32
	// slowStart is Options.SlowStart.
	slowStart atomic.Int64

	// mu guards the fields below, and all writes of a Set and its groups.
	mu sync.Mutex
	// options is read through optionsLocked.
	options  Options
	resolved bool
	// size is the number of instances in the set, ejected how many of them are ejected.
	size     int
	ejected  int
	troubles map[*load]*trouble
	due      dueHeap
	censuses []*census
}

// standing is how a trouble is counted.
type standing uint8

const (
	isBarred standing = 1 << iota
	isEjected
)

// trouble is an instance that is barred or ejected, or was ejected not long ago.
type trouble struct {
	load    *load
	counted standing
	// ejections counts the ejections in a row.
	ejections int
	// due is when the next of its states ends.
	due int64
	// place is the index in the heap.
	place int
}

// census counts the members of one pool that are out. It is written under the
// ward's lock.
type census struct {
	// at maps each member to its index.
	at     map[*load]int32
	barred atomic.Int32
	// ejected counts the members that are ejected and not barred.
	ejected atomic.Int32
}

func (c *census) count(s standing, by int32) {
	switch {
	case s&isBarred != 0:
		c.barred.Add(by)
	case s&isEjected != 0:
		c.ejected.Add(by)
	}
}

// out returns how many members are barred and, if heeded, ejected.
func (c *census) out(heeded bool) int {
	n := c.barred.Load()
	if heeded {
		n += c.ejected.Load()
	}
	return int(n)
}

// optionsLocked returns the options, or all defaults if none were set.
func (w *ward) optionsLocked() Options {
	if !w.resolved {
		w.configureLocked(Options{})
	}
	return w.options
}

func (w *ward) configureLocked(o Options) {
	w.options, w.resolved = o.resolved(), true
	w.errors.Store(uint32(w.options.Outlier.Errors))
	w.slowStart.Store(int64(w.options.SlowStart))
}

// tick settles the troubles that are due. It does not wait: if the lock is held, a
// later pick does it. No pick relies on it, because each one checks the times itself.
func (w *ward) tick(now int64) {
	if next := w.next.Load(); next != 0 && now >= next {
		w.expire(now)
	}
}

func (w *ward) expire(now int64) {
	if !w.mu.TryLock() {
		return
	}
	defer w.mu.Unlock()
	w.expireLocked(now)
}

func (w *ward) expireLocked(now int64) {
	for len(w.due) > 0 && w.due[0].due <= now {
		t := w.due[0]
		s := t.counted
		if t.load.barred.Load() <= now {
			s &^= isBarred
		}
		if t.load.ejected.Load() <= now {
			s &^= isEjected
		}
		if s == 0 && now >= w.forgottenAt(t) {
			t.ejections = 0
		}
		w.settleLocked(t, s)
	}
}

// forgottenAt returns when enough time in health has compensated for t's ejections.
func (w *ward) forgottenAt(t *trouble) int64 {
	return t.load.ejected.Load() + int64(t.ejections)*int64(w.options.Outlier.Interval)
}

// settleLocked counts t as s, and sets when it is due again. It drops t if there is no
// trouble left.
func (w *ward) settleLocked(t *trouble, s standing) {
	if s != t.counted {
		for _, c := range w.censuses {
			if _, ok := c.at[t.load]; ok {
				c.count(t.counted, -1)
				c.count(s, 1)
			}
		}
		if s&isEjected != t.counted&isEjected {
			if s&isEjected != 0 {
				w.ejected++
			} else {
				w.ejected--
			}
		}
		t.counted = s
	}
	if s == 0 && t.ejections == 0 {
		w.dropLocked(t)
		return
	}
	t.due = never
	if s&isBarred != 0 {
		t.due = t.load.barred.Load()
	}
	if s&isEjected != 0 {
		t.due = min(t.due, t.load.ejected.Load())
	}
	if s == 0 {
		t.due = w.forgottenAt(t)
	}
	heap.Fix(&w.due, t.place)
	w.next.Store(max(w.due[0].due, 1))
}

func (w *ward) dropLocked(t *trouble) {
	heap.Remove(&w.due, t.place)
	delete(w.troubles, t.load)
	if len(w.due) == 0 {
		w.next.Store(0)
		return
	}
	w.next.Store(max(w.due[0].due, 1))
}

// troubleLocked returns the trouble of l, a new one if it has none. The caller must
// settle it.
func (w *ward) troubleLocked(l *load) *trouble {
	t := w.troubles[l]
	if t == nil {
		t = &trouble{load: l, due: never}
		if w.troubles == nil {
			w.troubles = make(map[*load]*trouble)
		}
		w.troubles[l] = t
		heap.Push(&w.due, t)
	}
	return t
}

// standingLocked returns how l is counted.
func (w *ward) standingLocked(l *load) standing {
	if t := w.troubles[l]; t != nil {
		return t.counted
	}
	return 0
}

// leaveLocked forgets an instance that left the set. It bars the instance forever, so that
// no pick from an old snapshot returns it.
func (w *ward) leaveLocked(l *load) {
	l.failures.Or(gone)
	l.barred.Store(never)
	l.reclassify()
	if t := w.troubles[l]; t != nil {
		t.ejections = 0
		w.settleLocked(t, 0)
	}
}

func (w *ward) bar(l *load, until int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if until <= l.barred.Load() {
		return
	}
	l.barred.Store(until)
	l.reclassify()
	t := w.troubleLocked(l)
	w.settleLocked(t, t.counted|isBarred)
}

func (w *ward) unbar(l *load) {
	if l.barred.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.failures.Load()&gone != 0 {
		return
	}
	l.barred.Store(0)
	l.reclassify()
	if t := w.troubles[l]; t != nil {
		w.settleLocked(t, t.counted&^isBarred)
	}
}

// enrollLocked keeps the counts of c current from now on. The caller adds its members.
func (w *ward) enrollLocked(c *census) { w.censuses = append(w.censuses, c) }

func (w *ward) dismissLocked(c *census) {
	w.censuses = slices.DeleteFunc(w.censuses, func(other *census) bool { return other == c })
	c.barred.Store(0)
	c.ejected.Store(0)
}
