package journal

import (
	"slices"
	"sort"
)

// chunkSize is how many deliveries a chunk holds at most. It is chosen so that every change
// of a window of [MaxWindow] messages moves only a few hundred pointers.
const chunkSize = 128

// deliveries are the deliveries of a window in the order of their numbers, in chunks. A
// lookup is a binary search, and an insertion or removal moves no more than two chunks and
// the list of chunks.
type deliveries struct {
	chunks []*chunk
	n      int
	// spare is an empty chunk that is used next, or nil.
	spare *chunk
}

// chunk holds deliveries in at[head:end].
type chunk struct {
	at        [chunkSize]*delivery
	head, end int
	// least is at most the least order of the deliveries that are with the subscriber, or
	// never if there are none. A range of acks skips a chunk in which it can ack nothing.
	least uint64
}

func (c *chunk) list() []*delivery { return c.at[c.head:c.end] }

// chunkOf returns the index of the first chunk with a number of at least seq.
func (l *deliveries) chunkOf(seq uint64) int {
	return sort.Search(len(l.chunks), func(i int) bool { c := l.chunks[i]; return c.at[c.end-1].seq >= seq })
}

func (c *chunk) search(seq uint64) int {
	list := c.list()
	return c.head + sort.Search(len(list), func(i int) bool { return list[i].seq >= seq })
}

// find returns the delivery of a message, nil if there is none.
func (l *deliveries) find(seq uint64) *delivery {
	if i := l.chunkOf(seq); i < len(l.chunks) {
		c := l.chunks[i]
		if d := c.at[c.search(seq)]; d.seq == seq {
			return d
		}
	}
	return nil
}

// first returns the delivery with the least number, nil if there is none.
func (l *deliveries) first() *delivery {
	if l.n == 0 {
		return nil
	}
	c := l.chunks[0]
	return c.at[c.head]
}

// from calls visit for deliveries with numbers of at least seq, in order, until visit returns
// false. visit must not change the list.
func (l *deliveries) from(seq uint64, visit func(*delivery) bool) {
	for i := l.chunkOf(seq); i < len(l.chunks); i++ {
		c := l.chunks[i]
		for _, d := range c.at[c.search(seq):c.end] {
			if !visit(d) {
				return
			}
		}
	}
}

// insert adds a delivery in the order of numbers.
func (l *deliveries) insert(d *delivery) {
	l.n++
	i := l.chunkOf(d.seq)
	if i == len(l.chunks) {
		if i == 0 || l.chunks[i-1].end == chunkSize {
			l.chunks = append(l.chunks, l.empty())
			i++
		}
		c := l.chunks[i-1]
		c.at[c.end] = d
		c.end++
		return
	}
	c := l.chunks[i]
	if c.end-c.head == chunkSize {
		l.split(i)
		if c = l.chunks[i]; c.at[c.end-1].seq < d.seq {
			c = l.chunks[i+1]
		}
	}
	at := c.search(d.seq)
	if c.head > 0 {
		copy(c.at[c.head-1:], c.at[c.head:at])
		c.head--
		at--
	} else {
		copy(c.at[at+1:], c.at[at:c.end])
		c.end++
	}
	c.at[at] = d
}

func (l *deliveries) empty() *chunk {
	c := l.spare
	if l.spare = nil; c == nil {
		c = new(chunk)
	}
	c.head, c.end, c.least = 0, 0, never
	return c
}

// split moves the second half of a chunk to a new chunk behind it.
func (l *deliveries) split(i int) {
	c, n := l.chunks[i], l.empty()
	half := c.head + (c.end-c.head)/2
	n.end = copy(n.at[:], c.at[half:c.end])
	n.least = c.least
	clear(c.at[half:c.end])
	c.end = half
	l.chunks = slices.Insert(l.chunks, i+1, n)
}

// remove removes a delivery.
func (l *deliveries) remove(d *delivery) {
	i := l.chunkOf(d.seq)
	c := l.chunks[i]
	c.cut(c.search(d.seq))
	l.n--
	l.settle(i)
}

// cut removes the delivery at an index, and moves the shorter side to close the hole.
func (c *chunk) cut(at int) {
	if at-c.head < c.end-at {
		copy(c.at[c.head+1:], c.at[c.head:at])
		c.at[c.head] = nil
		c.head++
	} else {
		copy(c.at[at:], c.at[at+1:c.end])
		c.end--
		c.at[c.end] = nil
	}
}

// settle joins a chunk that has become small with a neighbor, so that there are never many
// more chunks than needed.
func (l *deliveries) settle(i int) {
	c := l.chunks[i]
	n := c.end - c.head
	switch {
	case n == 0:
		l.drop(i)
	case n > chunkSize/4:
	case i+1 < len(l.chunks) && l.chunks[i+1].len()+n <= chunkSize*3/4:
		l.join(i)
	case i > 0 && l.chunks[i-1].len()+n <= chunkSize*3/4:
		l.join(i - 1)
	}
}

func (c *chunk) len() int { return c.end - c.head }

// join moves the deliveries of the chunk behind chunk i into chunk i.
func (l *deliveries) join(i int) {
	c, next := l.chunks[i], l.chunks[i+1]
	if c.head > 0 {
		n := copy(c.at[:], c.list())
		clear(c.at[n:c.end])
		c.head, c.end = 0, n
	}
	c.end += copy(c.at[c.end:], next.list())
	c.least = min(c.least, next.least)
	clear(next.at[:])
	l.drop(i + 1)
}

func (l *deliveries) drop(i int) {
	l.spare = l.chunks[i]
	l.chunks = slices.Delete(l.chunks, i, i+1)
}
