package journal

// queue holds the numbers of entries in order, and the sizes of their records, in 8 bytes
// each: the low 40 bits of the number, and the size in units of 16 bytes.
type queue struct {
	// items is a ring. Its length is a power of two.
	items   []uint64
	head, n int
	// last is the newest number. It completes the low bits of the others.
	last uint64
}

const (
	sizeBits = 24
	sizeUnit = 16
	seqMask  = 1<<(64-sizeBits) - 1
	// queueStart is the first length of a queue, and queueIdle the greatest length that an
	// empty queue keeps.
	queueStart = 16
	queueIdle  = 1024
)

// units returns a size in units of 16 bytes, rounded up.
func units(size uint32) int { return int(size+sizeUnit-1) / sizeUnit }

// longer returns the length to which a full queue grows.
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
