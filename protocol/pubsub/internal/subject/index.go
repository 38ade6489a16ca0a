package subject

import (
	"slices"
	"strings"
	"sync"
)

// Index finds the values whose patterns match a name. The zero value is an empty index,
// ready to use. A value may be under several patterns, once under each.
//
// It is safe for concurrent use. [Index.Match] allocates nothing and excludes only
// changes. The cost of [Index.Add] and [Index.Remove] depends on the length of the pattern
// only, not on the size of the index or on how many values are under one pattern. Memory is
// proportional to the patterns; names leave nothing behind.
type Index[T comparable] struct {
	mu         sync.RWMutex // guards the fields below
	root       *node[T]
	generation uint64
	size       int
}

// node is a place between two tokens. here has the values of patterns that end here, and
// rest those of patterns that end here with ">".
type node[T comparable] struct {
	here set[T]
	rest set[T]
	one  *node[T]
	kids map[string]*node[T]
}

func (n *node[T]) empty() bool {
	return len(n.here.list) == 0 && len(n.rest.list) == 0 && n.one == nil && len(n.kids) == 0
}

// Add puts a value under a valid pattern, and reports whether it was not there before.
func (x *Index[T]) Add(pattern string, v T) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.root == nil {
		x.root = &node[T]{}
	}
	if !x.root.add(pattern, v) {
		return false
	}
	x.generation++
	x.size++
	return true
}

// Remove removes a value from under a pattern, and reports whether it was there.
func (x *Index[T]) Remove(pattern string, v T) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.root == nil || !x.root.remove(pattern, v) {
		return false
	}
	x.generation++
	x.size--
	return true
}

// Match calls visit for every value under a pattern that matches the valid name, once
// for each such pattern. visit must not change the index.
func (x *Index[T]) Match(name string, visit func(T)) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.root != nil {
		x.root.match(name, true, visit)
	}
}

// Generation returns a number that changes with every change of the index. A caller that
// keeps the result of a Match must read it before the Match.
func (x *Index[T]) Generation() uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.generation
}

// Len returns how many values the index holds. A value counts once for each of its patterns.
func (x *Index[T]) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.size
}

// match visits each node at most once, whatever the name, so its work is bounded by the
// size of the tree.
func (n *node[T]) match(name string, first bool, visit func(T)) {
	token, tail, more := strings.Cut(name, ".")
	if !first || token != Reserved {
		for _, v := range n.rest.list {
			visit(v)
		}
		if n.one != nil {
			n.one.step(tail, more, visit)
		}
	}
	if kid := n.kids[token]; kid != nil {
		kid.step(tail, more, visit)
	}
}

func (n *node[T]) step(tail string, more bool, visit func(T)) {
	if more {
		n.match(tail, false, visit)
		return
	}
	for _, v := range n.here.list {
		visit(v)
	}
}

func (n *node[T]) add(pattern string, v T) bool {
	token, tail, more := strings.Cut(pattern, ".")
	if token == rest {
		return n.rest.add(v)
	}
	kid := n.kid(token)
	if kid == nil {
		kid = &node[T]{}
		n.put(token, kid)
	}
	if more {
		return kid.add(tail, v)
	}
	return kid.here.add(v)
}

// remove removes v from under the pattern, and removes nodes that become empty.
func (n *node[T]) remove(pattern string, v T) (found bool) {
	token, tail, more := strings.Cut(pattern, ".")
	if token == rest {
		return n.rest.remove(v)
	}
	kid := n.kid(token)
	switch {
	case kid == nil:
		return false
	case more:
		found = kid.remove(tail, v)
	default:
		found = kid.here.remove(v)
	}
	if kid.empty() {
		n.put(token, nil)
	}
	return found
}

func (n *node[T]) kid(token string) *node[T] {
	if token == one {
		return n.one
	}
	return n.kids[token]
}

// put sets the node behind a token. A nil node removes it.
func (n *node[T]) put(token string, kid *node[T]) {
	switch {
	case token == one:
		n.one = kid
	case kid != nil:
		if n.kids == nil {
			n.kids = make(map[string]*node[T])
		}
		n.kids[strings.Clone(token)] = kid
	default:
		// An empty map would keep the memory that it once needed.
		if delete(n.kids, token); len(n.kids) == 0 {
			n.kids = nil
		}
	}
}

// set has the values under one pattern, in no order.
type set[T comparable] struct {
	list []T
	// at maps a value to its index in list. It is nil while list is short.
	at map[T]int
}

// shortSet is how many values at most are searched one by one.
const shortSet = 8

// find returns the index of a value, -1 if it is not there.
func (s *set[T]) find(v T) int {
	if s.at != nil {
		if i, ok := s.at[v]; ok {
			return i
		}
		return -1
	}
	for i := range s.list {
		if s.list[i] == v {
			return i
		}
	}
	return -1
}

func (s *set[T]) add(v T) bool {
	if s.find(v) >= 0 {
		return false
	}
	s.list = append(s.list, v)
	switch {
	case s.at != nil:
		s.at[v] = len(s.list) - 1
	case len(s.list) > shortSet:
		s.at = make(map[T]int, 2*shortSet)
		for i, v := range s.list {
			s.at[v] = i
		}
	}
	return true
}

// remove removes v, and puts the last value in its place.
func (s *set[T]) remove(v T) bool {
	i := s.find(v)
	if i < 0 {
		return false
	}
	var zero T
	last := len(s.list) - 1
	moved := s.list[last]
	s.list[i] = moved
	s.list[last] = zero
	if s.at != nil {
		s.at[moved] = i
		delete(s.at, v)
	}
	s.list = s.list[:last]
	switch last {
	case 0:
		*s = set[T]{}
	case shortSet / 2:
		// Neither list nor at keeps the memory that many values needed.
		s.list, s.at = slices.Clone(s.list), nil
	}
	return true
}
