package balance

import (
	"container/heap"
	"slices"
	"sync"
	"sync/atomic"
)

// ward is what a set keeps apart from its type of values: the options, and the
// instances in trouble. An instance without trouble takes no space in it.
type ward struct {
	next      atomic.Int64  // when the first trouble is due, 0: there is none
	errors    atomic.Uint32 // Outlier.Errors, 0: none is ejected
	slowStart atomic.Int64  // Options.SlowStart

	mu       sync.Mutex // guards the fields below, and all writes of a Set and its groups
	options  Options    // see optionsLocked
	resolved bool
	size     int // instances in the set
	ejected  int // instances that are ejected
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

// trouble is an instance that is barred, is ejected, or was not long ago.
type trouble struct {
	load      *load
	counted   standing
	ejections int   // in a row
	due       int64 // when the next of its states ends
	place     int   // in the heap
}

// census counts the members of one pool that are out. It is written under the
// ward's lock.
type census struct {
	at      map[*load]int32 // the index of each member
	barred  atomic.Int32
	ejected atomic.Int32 // and not barred
}

func (c *census) count(s standing, by int32) {
	switch {
	case s&isBarred != 0:
		c.barred.Add(by)
	case s&isEjected != 0:
		c.ejected.Add(by)
	}
}

// out is how many members must not be picked, ejections heeded or not.
func (c *census) out(heeded bool) int {
	n := c.barred.Load()
	if heeded {
		n += c.ejected.Load()
	}
	return int(n)
}

// optionsLocked are the options, all defaults if there were none.
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

// tick lets what is due happen. It does not wait: what another holds up happens
// at a later pick, and no pick relies on it, for each looks at the times itself.
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

// forgottenAt is when t's ejections are made up for.
func (w *ward) forgottenAt(t *trouble) int64 {
	return t.load.ejected.Load() + int64(t.ejections)*int64(w.options.Outlier.Interval)
}

// settleLocked counts t as s, and sets when it is looked at again.
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

// troubleLocked returns the trouble of l, a new one if it has none, for the caller
// to settle.
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

// standingLocked is how l is to be counted.
func (w *ward) standingLocked(l *load) standing {
	if t := w.troubles[l]; t != nil {
		return t.counted
	}
	return 0
}

// leaveLocked forgets an instance that left the set. It is barred for good, so that no
// pick from an old snapshot returns it.
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

// enrollLocked begins to count for c, whose members the caller adds.
func (w *ward) enrollLocked(c *census) { w.censuses = append(w.censuses, c) }

func (w *ward) dismissLocked(c *census) {
	w.censuses = slices.DeleteFunc(w.censuses, func(other *census) bool { return other == c })
	c.barred.Store(0)
	c.ejected.Store(0)
}
