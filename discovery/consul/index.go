package consul

// cursor is the position in a sequence of blocking queries, following the rules in Consul's
// documentation (api-docs/features/blocking). The zero value makes a query that does not wait.
type cursor struct {
	// index is the index of the next query. 0 does not wait.
	index uint64

	// last is the index of the last answer, 0 if there was none. backend is the backend that gave
	// it: each has its own indexes.
	last    uint64
	backend string
}

// advance records the index of an answer and reports whether it went backwards, which happens when
// the state of the servers was restored or replaced.
func (c *cursor) advance(index uint64, backend string) (backwards bool) {
	lower := index < c.last
	backwards = lower && backend == c.backend
	c.last, c.backend = index, backend
	switch {
	case lower:
		c.index = 0
	case index == 0:
		// With 0 the query would not wait, which would make a busy loop.
		c.index = 1
	default:
		c.index = index
	}
	return backwards
}
