package subject

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Index finds the values whose patterns match a name. Its zero value is empty and
// ready. A value may be there under several patterns, and several times under one.
//
// [Index.Match] takes no lock and allocates nothing; it sees the index as it was at
// one moment. [Index.Add] and [Index.Remove] exclude each other and cost what they
// change, whatever the size of the index. Memory is in proportion to the patterns;
// names leave nothing behind.
type Index[T comparable] struct {
	mu   sync.Mutex // one writer at a time
	tree atomic.Pointer[tree[T]]
}

// tree is one state of an index. All it points to is immutable, but for the unused
// capacity of lists, which belongs to the newest state.
type tree[T comparable] struct {
	seed       maphash.Seed
	root       *node[T]
	generation uint64
	size       int
}

// node is a place between two tokens.
type node[T comparable] struct {
	here []T // patterns that end here
	rest []T // patterns that end here with ">"
	one  *node[T]
	kids *kids[T]
}

func (n *node[T]) empty() bool {
	return len(n.here) == 0 && len(n.rest) == 0 && n.one == nil && n.kids == nil
}

// Add puts a value under a valid pattern.
func (x *Index[T]) Add(pattern string, v T) {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.tree.Load()
	if t == nil {
		t = &tree[T]{seed: maphash.MakeSeed()}
	}
	next := &tree[T]{seed: t.seed, generation: t.generation + 1, size: t.size + 1}
	next.root = t.root.add(t.seed, pattern, v)
	x.tree.Store(next)
}

// Remove takes a value from under a pattern, once, and reports whether it was there.
func (x *Index[T]) Remove(pattern string, v T) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.tree.Load()
	if t == nil {
		return false
	}
	root, found := t.root.remove(t.seed, pattern, v)
	if !found {
		return false
	}
	x.tree.Store(&tree[T]{seed: t.seed, root: root, generation: t.generation + 1, size: t.size - 1})
	return true
}

// Match calls visit for every value under a pattern that matches the valid name, as
// often as it is there.
func (x *Index[T]) Match(name string, visit func(T)) {
	if t := x.tree.Load(); t != nil && t.root != nil {
		t.root.match(t.seed, name, true, visit)
	}
}

// Generation returns a number that changes with every change of the index. Who
// keeps the result of a Match reads it before.
func (x *Index[T]) Generation() uint64 {
	if t := x.tree.Load(); t != nil {
		return t.generation
	}
	return 0
}

// Len returns how many values the index holds, each as often as it was added.
func (x *Index[T]) Len() int {
	if t := x.tree.Load(); t != nil {
		return t.size
	}
	return 0
}

// match visits each node at most once, whatever the name: its work is bounded by
// the size of the tree.
func (n *node[T]) match(seed maphash.Seed, name string, first bool, visit func(T)) {
	token, tail, more := strings.Cut(name, ".")
	if !first || token != Reserved {
		for _, v := range n.rest {
			visit(v)
		}
		if n.one != nil {
			n.one.step(seed, tail, more, visit)
		}
	}
	if kid := n.kids.get(token, maphash.String(seed, token)); kid != nil {
		kid.step(seed, tail, more, visit)
	}
}

func (n *node[T]) step(seed maphash.Seed, tail string, more bool, visit func(T)) {
	if more {
		n.match(seed, tail, false, visit)
		return
	}
	for _, v := range n.here {
		visit(v)
	}
}

// add returns a copy of n, which may be nil, with v under the pattern.
func (n *node[T]) add(seed maphash.Seed, pattern string, v T) *node[T] {
	c := &node[T]{}
	if n != nil {
		*c = *n
	}
	token, tail, more := strings.Cut(pattern, ".")
	if token == rest {
		c.rest = append(c.rest, v) // readers of older states do not look past their length
		return c
	}
	hash := maphash.String(seed, token)
	kid := c.one
	if token != one {
		kid = c.kids.get(token, hash)
	}
	if more {
		kid = kid.add(seed, tail, v)
	} else {
		kid = kid.end(v)
	}
	if token == one {
		c.one = kid
	} else {
		c.kids = c.kids.put(token, hash, 0, kid)
	}
	return c
}

// end returns a copy of n, which may be nil, with v in its place.
func (n *node[T]) end(v T) *node[T] {
	c := &node[T]{}
	if n != nil {
		*c = *n
	}
	c.here = append(c.here, v)
	return c
}

// remove returns a copy of n without v under the pattern, nil if nothing is left.
func (n *node[T]) remove(seed maphash.Seed, pattern string, v T) (*node[T], bool) {
	if n == nil {
		return nil, false
	}
	c := *n
	token, tail, more := strings.Cut(pattern, ".")
	var found bool
	switch token {
	case rest:
		c.rest, found = without(c.rest, v)
	case one:
		c.one, found = c.one.drop(seed, tail, more, v)
	default:
		var kid *node[T]
		hash := maphash.String(seed, token)
		if kid, found = c.kids.get(token, hash).drop(seed, tail, more, v); found {
			c.kids = c.kids.put(token, hash, 0, kid)
		}
	}
	switch {
	case !found:
		return n, false
	case c.empty():
		return nil, true
	}
	return &c, true
}

func (n *node[T]) drop(seed maphash.Seed, tail string, more bool, v T) (*node[T], bool) {
	if n == nil || more {
		return n.remove(seed, tail, v)
	}
	c := *n
	var found bool
	c.here, found = without(c.here, v)
	switch {
	case !found:
		return n, false
	case c.empty():
		return nil, true
	}
	return &c, true
}

// without returns a copy of the list that lacks one v.
func without[T comparable](list []T, v T) ([]T, bool) {
	i := slices.Index(list, v)
	if i < 0 {
		return list, false
	}
	if len(list) == 1 {
		return nil, true
	}
	return slices.Concat(list[:i], list[i+1:]), true
}
