package balance

import (
	"sync"
	"sync/atomic"
)

// Table is a [Set] with one group of all endpoints, which is told the whole set at
// each update; without slow start, ejection and subsetting. The zero value is an
// empty table. A Table must not be copied.
type Table[T comparable] struct {
	mu    sync.Mutex // one update at a time
	set   Set[T]
	group atomic.Pointer[Group[T]] // nil before the first update
}

// Pick picks from the last update; see [Group.Pick].
func (t *Table[T]) Pick(now int64, tried *Tried[T]) (*Endpoint[T], bool) {
	g := t.group.Load()
	if g == nil {
		return nil, false
	}
	return g.Pick(now, tried, Key{})
}

// Lookup returns the endpoint of key.
func (t *Table[T]) Lookup(key string) (*Endpoint[T], bool) { return t.set.Lookup(key) }

// Update makes items the whole set and returns the endpoints whose key is gone,
// for the owner to close. Of items with the same key the first stands. Items is
// not kept. It costs O(n), whatever changed.
func (t *Table[T]) Update(items []Item[T]) (removed []*Endpoint[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.group.Load()
	if g == nil {
		t.set.Configure(Options{SlowStart: -1, Outlier: Outlier{Errors: -1}}, 0)
		g = t.set.Group(nil, GroupOptions{Subset: -1}, 0)
	}
	there := make(map[string]bool, len(items))
	put := make([]Item[T], 0, len(items))
	for _, item := range items {
		if !there[item.Key] {
			there[item.Key] = true
			put = append(put, item)
		}
	}
	var gone []string
	for e := range g.Members() {
		if !there[e.key] {
			gone = append(gone, e.key)
		}
	}
	removed = t.set.Update(put, gone, 0)
	t.group.Store(g)
	return removed
}
