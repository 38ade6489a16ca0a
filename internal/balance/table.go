package balance

import (
	"sync"
	"sync/atomic"
)

// Item is one instance as discovery reports it.
type Item[T comparable] struct {
	// Key identifies the instance across updates.
	Key string
	// Value is what the endpoint carries. A different value makes a new Endpoint
	// over the same load.
	Value T
	// Weight of calls relative to the others; 0 means 1.
	Weight uint32
}

// Table keeps the endpoints of a changing set of instances: what was measured of
// an instance survives updates for as long as the instance stays. The zero value
// is an empty table. A Table must not be copied.
type Table[T comparable] struct {
	current atomic.Pointer[Picker[T]]

	mu    sync.Mutex // guards the fields below
	known map[string]*entry[T]
	round uint64
}

type entry[T comparable] struct {
	endpoint *Endpoint[T]
	round    uint64 // of the last update that named it
}

// Picker returns the snapshot of the last update, nil before the first. A nil
// Picker is empty.
func (t *Table[T]) Picker() *Picker[T] { return t.current.Load() }

// Pick picks from the current snapshot; see [Picker.Pick].
func (t *Table[T]) Pick(now int64, tried *Tried[T]) (*Endpoint[T], bool) {
	return t.current.Load().Pick(now, tried)
}

// Lookup returns the endpoint of key. It is meant for the one who updates, who
// carries an instance's value over from one update to the next.
func (t *Table[T]) Lookup(key string) (*Endpoint[T], bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.known[key]
	if !ok {
		return nil, false
	}
	return known.endpoint, true
}

// Update makes items the whole set and returns the endpoints whose key is gone,
// for the owner to close: calls may still be in flight on them, and picks that
// read the old snapshot may still return them for a moment. Of items with the
// same key the first stands. Items is not kept.
//
// An update looks every item up and copies one pointer and one slot for it, O(n);
// it allocates the new snapshot and what changed. An update that changes nothing
// allocates nothing and keeps the snapshot.
func (t *Table[T]) Update(items []Item[T]) (removed []*Endpoint[T]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sameLocked(items) {
		return nil
	}
	if t.known == nil {
		t.known = make(map[string]*entry[T], len(items))
	}
	t.round++
	endpoints := make([]*Endpoint[T], 0, len(items))
	for _, item := range items {
		if e := t.reconcileLocked(item); e != nil {
			endpoints = append(endpoints, e)
		}
	}
	if len(t.known) > len(endpoints) {
		removed = t.sweepLocked()
	}
	t.current.Store(NewPicker(endpoints))
	return removed
}

// reconcileLocked returns the endpoint of item, nil if this round has one.
func (t *Table[T]) reconcileLocked(item Item[T]) *Endpoint[T] {
	known, ok := t.known[item.Key]
	switch {
	case !ok:
		known = &entry[T]{endpoint: NewEndpoint(item.Key, item.Value, item.Weight)}
		t.known[item.Key] = known
	case known.round == t.round:
		return nil
	case !matches(known.endpoint, item):
		known.endpoint = known.endpoint.with(item.Value, item.Weight)
	}
	known.round = t.round
	return known.endpoint
}

// sweepLocked forgets what this round did not name.
func (t *Table[T]) sweepLocked() (removed []*Endpoint[T]) {
	for key, known := range t.known {
		if known.round != t.round {
			removed = append(removed, known.endpoint)
			delete(t.known, key)
		}
	}
	return removed
}

// sameLocked reports whether items is the current snapshot, in the same order.
func (t *Table[T]) sameLocked(items []Item[T]) bool {
	current := t.current.Load()
	if current == nil || len(current.endpoints) != len(items) {
		return false
	}
	for i, e := range current.endpoints {
		if e.key != items[i].Key || !matches(e, items[i]) {
			return false
		}
	}
	return true
}

func matches[T comparable](e *Endpoint[T], item Item[T]) bool {
	return e.value == item.Value && e.weight == max(item.Weight, 1)
}
