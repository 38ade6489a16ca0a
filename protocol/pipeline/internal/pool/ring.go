package pool

// node is a place in a ring of values that take turns. Its next is nil while it is not in a ring.
type node[T any] struct {
	prev, next *node[T]
	value      T
}

// enter puts a node in a ring behind all others, which is before the one whose turn it is.
func (n *node[T]) enter(turn **node[T]) {
	if *turn == nil {
		n.prev, n.next = n, n
		*turn = n
		return
	}
	n.prev, n.next = (*turn).prev, *turn
	n.prev.next, n.next.prev = n, n
}

// leave takes a node out of its ring.
func (n *node[T]) leave(turn **node[T]) {
	if n.next == n {
		*turn = nil
	} else {
		n.prev.next, n.next.prev = n.next, n.prev
		if *turn == n {
			*turn = n.next
		}
	}
	n.prev, n.next = nil, nil
}

// all calls f for each value in the ring, beginning with that of n. The ring is empty if n is nil.
func (n *node[T]) all(f func(T)) {
	for at := n; at != nil; {
		f(at.value)
		if at = at.next; at == n {
			return
		}
	}
}
