package consul

// cursor is the position in a sequence of blocking queries, by the rules of Consul's
// documentation (api-docs/features/blocking). The zero value asks without waiting.
type cursor struct {
	index   uint64 // to ask with; 0 does not wait
	last    uint64 // the last answer's; 0 if there was none
	backend string // the backend that gave last; each counts for itself
}

// advance takes the index of an answer and reports whether it went backwards, as it does when the
// state of the servers was restored or replaced.
func (c *cursor) advance(index uint64, backend string) (backwards bool) {
	lower := index < c.last
	backwards = lower && backend == c.backend
	c.last, c.backend = index, backend
	switch {
	case lower:
		c.index = 0
	case index == 0:
		c.index = 1 // 0 would not wait, and so would ask in a loop
	default:
		c.index = index
	}
	return backwards
}
