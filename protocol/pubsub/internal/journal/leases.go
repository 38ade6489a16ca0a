package journal

// spot is where a delivery of a window is, besides the list of all deliveries.
type spot uint8

const (
	nowhere spot = iota
	leased       // with the subscriber, until the lease ends
	lapsed       // waits for redelivery because its lease has ended
	later        // waits for redelivery for another reason
	due          // is to be delivered again now
)

// leases are the deliveries that are with a subscriber, in the order in which they were
// sent, which is the order in which their leases end.
type leases struct {
	// root is the sentinel of a ring: before the first delivery, and behind the last.
	root delivery
	n    int
}

func newLeases() *leases {
	l := &leases{}
	l.root.next, l.root.prev = &l.root, &l.root
	return l
}

// first returns the delivery whose lease ends first, nil if there is none.
func (l *leases) first() *delivery {
	if l.n == 0 {
		return nil
	}
	return l.root.next
}

// add appends a delivery. It makes sure that the lease does not end before those of the others.
func (l *leases) add(d *delivery) {
	last := l.root.prev
	if last != &l.root {
		d.due = max(d.due, last.due)
	}
	d.prev, d.next = last, &l.root
	last.next, l.root.prev = d, d
	l.n++
}

func (l *leases) remove(d *delivery) {
	d.unlink()
	l.n--
}

func (d *delivery) unlink() {
	d.prev.next, d.next.prev = d.next, d.prev
	d.prev, d.next = nil, nil
}

// heap is a binary heap with the least item in front.
type heap[T any] struct {
	list []T
	less func(a, b T) bool
	// moved is called with the new index of an item. It may be nil.
	moved func(item T, at int)
}

func (h *heap[T]) push(item T) {
	h.list = append(h.list, item)
	h.up(len(h.list) - 1)
}

// pop takes the least item.
func (h *heap[T]) pop() T {
	item := h.list[0]
	h.remove(0)
	return item
}

func (h *heap[T]) remove(at int) {
	var zero T
	last := len(h.list) - 1
	moved := h.list[last]
	h.list[last] = zero
	// An empty heap keeps no memory that was once needed.
	if h.list = h.list[:last]; last == 0 {
		h.list = nil
	}
	if at < last {
		h.put(at, moved)
		h.up(at)
		h.down(at)
	}
}

func (h *heap[T]) put(at int, item T) {
	h.list[at] = item
	if h.moved != nil {
		h.moved(item, at)
	}
}

func (h *heap[T]) up(at int) {
	item := h.list[at]
	for at > 0 {
		above := (at - 1) / 2
		if !h.less(item, h.list[above]) {
			break
		}
		h.put(at, h.list[above])
		at = above
	}
	h.put(at, item)
}

func (h *heap[T]) down(at int) {
	item := h.list[at]
	for {
		below := 2*at + 1
		if below >= len(h.list) {
			break
		}
		if below+1 < len(h.list) && h.less(h.list[below+1], h.list[below]) {
			below++
		}
		if !h.less(h.list[below], item) {
			break
		}
		h.put(at, h.list[below])
		at = below
	}
	h.put(at, item)
}

func byTime(a, b *delivery) bool   { return a.due < b.due || a.due == b.due && a.seq < b.seq }
func byNumber(a, b *delivery) bool { return a.seq < b.seq }

func newHeap(less func(a, b *delivery) bool) heap[*delivery] {
	return heap[*delivery]{less: less, moved: func(d *delivery, at int) { d.slot = at }}
}
