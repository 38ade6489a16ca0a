package journal

// queue holds numbers of entries in their order, and the sizes of their records, in
// 8 bytes each: the low 40 bits of the number, and the size in units of 16 bytes.
type queue struct {
	items   []uint64 // a ring; a power of two of them
	head, n int
	last    uint64 // the newest number, from which the others are told
}

const (
	sizeBits = 24
	sizeUnit = 16
	seqMask  = 1<<(64-sizeBits) - 1
	// queueStart is the first length of a queue, queueIdle the longest one that an
	// empty queue keeps.
	queueStart = 16
	queueIdle  = 1024
)

// units returns how the queue counts a size.
func units(size uint32) int { return int(size+sizeUnit-1) / sizeUnit }

// longer is how many numbers a full queue has room for after the next one.
func (q *queue) longer() int { return max(2*q.n, queueStart) }

func (q *queue) push(seq uint64, size int) {
	if q.n == len(q.items) {
		items := make([]uint64, q.longer())
		for i := range q.n {
			items[i] = q.items[(q.head+i)&(len(q.items)-1)]
		}
		q.items, q.head = items, 0
	}
	q.items[(q.head+q.n)&(len(q.items)-1)] = seq<<sizeBits | uint64(size)
	q.n++
	q.last = seq
}

// front returns the oldest number and its size in units.
func (q *queue) front() (seq uint64, size int) {
	item := q.items[q.head]
	return q.last - (q.last-item>>sizeBits)&seqMask, int(item & (1<<sizeBits - 1))
}

func (q *queue) pop() {
	q.head = (q.head + 1) & (len(q.items) - 1)
	q.n--
	if q.n == 0 && len(q.items) > queueIdle {
		q.items, q.head = nil, 0
	}
}
