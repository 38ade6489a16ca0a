package balance

import (
	"slices"
	"sync"
)

// Item is one instance as discovery reports it.
type Item[T comparable] struct {
	// Key identifies the instance across updates.
	Key string
	// Value is the value of the endpoint. A different value makes a new Endpoint
	// with the same state.
	Value T
	// Weight is the weight relative to the other instances. 0 means 1.
	Weight uint32
	// Zone is where the instance runs, "" if unknown.
	Zone string
}

// Set holds the endpoints of one service, and the groups they are picked from.
// What was learned about an instance survives updates for as long as the instance
// stays. The zero value is an empty set with default options. A Set must not be
// copied.
type Set[T comparable] struct {
	ward   ward
	groups []*Group[T] // guarded by ward.mu

	// keys is locked after ward.mu. It guards known for readers that do not hold ward.mu;
	// known is written under both locks.
	keys  sync.RWMutex
	known map[string]*Endpoint[T]
}

// Configure sets the options. An instance that is ejected or in slow start keeps the
// times that it was given. A change of Self or Zone rebuilds all groups, O(n).
func (s *Set[T]) Configure(o Options, now int64) {
	s.ward.mu.Lock()
	defer s.ward.mu.Unlock()
	s.ward.expireLocked(now)
	moved := o.Self != s.ward.options.Self || o.Zone != s.ward.options.Zone
	s.ward.configureLocked(o)
	for _, g := range s.groups {
		if moved {
			g.layOutLocked(g.membersLocked())
		}
		g.publishLocked()
	}
}

// Update applies a change: put holds the instances that are new or different,
// remove the keys of those that are gone. Removals come first, so that a key in
// both starts afresh; of two items with one key the last one counts. Neither slice
// is retained. Items without a change, and unknown keys, are ignored.
//
// It returns the endpoints that were removed, for the owner to close: calls may
// still be in flight on them, and picks in progress may still return them.
//
// A change copies, for each item and each group it matches, one or two chunks of 64
// members, and once a pointer for each 64 members of the group. Other work that
// depends on the size of a group is rare: when the group grows or shrinks across
// [ZoneMinimum] or [SubsetAbove], and when an instance of the subset leaves.
//
// An instance that joins a set with other instances goes through slow start. The
// instances of the first update, and of one that finds the set empty, do not.
func (s *Set[T]) Update(put []Item[T], remove []string, now int64) (removed []*Endpoint[T]) {
	s.ward.mu.Lock()
	defer s.ward.mu.Unlock()
	s.ward.expireLocked(now)
	ramp := int64(s.ward.optionsLocked().SlowStart)
	if len(s.known) == 0 {
		ramp = 0
	}
	for _, key := range remove {
		if e := s.removeLocked(key); e != nil {
			removed = append(removed, e)
		}
	}
	for i := range put {
		s.putLocked(&put[i], now, ramp)
	}
	s.ward.size = len(s.known)
	for _, g := range s.groups {
		g.commitLocked()
	}
	return removed
}

func (s *Set[T]) removeLocked(key string) *Endpoint[T] {
	e, ok := s.known[key]
	if !ok {
		return nil
	}
	s.keys.Lock()
	delete(s.known, key)
	s.keys.Unlock()
	for _, g := range s.groups {
		g.changeLocked(e.load, nil)
	}
	s.ward.leaveLocked(e.load)
	return e
}

func (s *Set[T]) putLocked(item *Item[T], now, ramp int64) {
	old, ok := s.known[item.Key]
	weight := max(item.Weight, 1)
	if ok && old.value == item.Value && old.weight == weight && old.zone == item.Zone {
		return
	}
	e := &Endpoint[T]{ward: &s.ward, key: item.Key, zone: item.Zone, value: item.Value, weight: weight}
	if ok {
		e.load = old.load
	} else {
		e.load = new(load)
		if ramp > 0 {
			e.load.ramped.Store(now + ramp)
			e.load.reclassify()
		}
	}
	s.keys.Lock()
	if s.known == nil {
		s.known = make(map[string]*Endpoint[T])
	}
	s.known[item.Key] = e
	s.keys.Unlock()
	for _, g := range s.groups {
		g.changeLocked(e.load, e)
	}
}

// Lookup returns the endpoint of key. It waits only while an update changes the
// index.
func (s *Set[T]) Lookup(key string) (*Endpoint[T], bool) {
	s.keys.RLock()
	defer s.keys.RUnlock()
	e, ok := s.known[key]
	return e, ok
}

// Len returns the number of instances.
func (s *Set[T]) Len() int {
	s.keys.RLock()
	defer s.keys.RUnlock()
	return len(s.known)
}

// Group returns a view of the endpoints whose values match accepts. Updates keep it
// current until it is released. A nil match accepts all. match is called once for
// each instance now, O(n), and for each later change, with the lock of the set held:
// it must be a pure function of the value.
func (s *Set[T]) Group(match func(T) bool, o GroupOptions, now int64) *Group[T] {
	s.ward.mu.Lock()
	defer s.ward.mu.Unlock()
	s.ward.expireLocked(now)
	g := newGroup(&s.ward, match, o.resolved())
	members := make([]*Endpoint[T], 0, len(s.known))
	for _, e := range s.known {
		if g.matches(e) {
			members = append(members, e)
		}
	}
	g.layOutLocked(members)
	g.publishLocked()
	s.groups = append(s.groups, g)
	return g
}

// Release ends the updates of g. Picks in progress end as usual; new ones see the
// instances as of the last update.
func (s *Set[T]) Release(g *Group[T]) {
	s.ward.mu.Lock()
	defer s.ward.mu.Unlock()
	i := slices.Index(s.groups, g)
	if i < 0 {
		return
	}
	s.groups = slices.Delete(s.groups, i, i+1)
	g.dismissLocked()
}
