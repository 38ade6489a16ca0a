package journal

import (
	"math/bits"
	"sync/atomic"

	"github.com/linkmesh/link/internal/hash"
)

const (
	blockBits = 8
	blockSize = 1 << blockBits
	slabSize  = 64 << 10
	// longRecord is the size from which a record has a slab of its own, and is copied
	// while no lock is held.
	longRecord = 16 << 10
	// entryCost is what an entry costs besides its record, in bytes.
	entryCost = 64
	// topicCost is what a topic costs besides its name, in bytes.
	topicCost = 96
)

// slab holds records, which are written once and never moved. It is garbage when the last
// of its entries has left the ring.
type slab struct{ b []byte }

// entry is a message in the ring. Its slab is set last when the entry is written, and unset
// when it leaves the ring. The other fields do not change, so that a goroutine that has
// loaded the slab can read them without a lock.
type entry struct {
	slab  atomic.Pointer[slab]
	topic *topic
	// at is when the message was published.
	at int64
	// expires is when the TTL ends; 0 means never.
	expires int64
	off     uint32
	size    uint32
	// hash is the hash of the key, 0 if there is none.
	hash uint32
	// clock is the CLOCK that the record's time counts from.
	clock uint32
	// key is the offset of the key in the record.
	key    uint16
	keyLen uint8
	lane   uint8
	// fresh is set if the topic was made for this entry, which then pays for it.
	fresh bool
}

// cost returns what the ring counts for the entry, in bytes.
func (e *entry) cost() int {
	n := int(e.size) + entryCost
	if e.fresh {
		n += len(e.topic.name) + topicCost
	}
	return n
}

// record returns the bytes of the entry in its slab.
func (e *entry) record(s *slab) []byte { return s.b[e.off : e.off+e.size] }

// keyIn returns the key of the entry, which aliases its slab.
func (e *entry) keyIn(s *slab) []byte {
	at := e.off + uint32(e.key)
	return s.b[at : at+uint32(e.keyLen)]
}

// block holds the entries of consecutive numbers.
type block struct {
	base uint64
	// written is how many bytes were published before the first entry.
	written uint64
	entries [blockSize]entry
}

// ring holds the entries with numbers from first up to, but not including, end. Only the
// owner of the log's lock writes. Method at and the numbers need no lock.
type ring struct {
	// blocks is indexed by base. Its length is a power of two.
	blocks     atomic.Pointer[[]atomic.Pointer[block]]
	first, end atomic.Uint64
	// lastOf is the newest number of each lane.
	lastOf [Lanes]atomic.Uint64

	// The lock of the log guards the fields below.

	newest *block
	slab   *slab
	// used is how many bytes of slab are in use.
	used int
	// held is the total cost of the entries, in bytes.
	held int
	// written is how many bytes were published.
	written uint64
	// left is when the newest entry that has left the ring was published.
	left int64
}

func (r *ring) init() {
	blocks := make([]atomic.Pointer[block], 4)
	r.blocks.Store(&blocks)
	r.first.Store(1)
	r.end.Store(1)
}

func slot(blocks []atomic.Pointer[block], seq uint64) *atomic.Pointer[block] {
	return &blocks[seq>>blockBits&uint64(len(blocks)-1)]
}

// find returns the block that a number belongs to, nil if it has left the ring.
func (r *ring) find(seq uint64) *block {
	b := slot(*r.blocks.Load(), seq).Load()
	if b == nil || b.base != seq&^(blockSize-1) {
		return nil
	}
	return b
}

// at returns the entry with a number below end and its slab, nil if it has left the
// ring. It takes no lock.
func (r *ring) at(seq uint64) (*entry, *slab) {
	b := r.find(seq)
	if b == nil {
		return nil, nil
	}
	return b.at(seq)
}

// at is ring.at for a number that belongs to the block.
func (b *block) at(seq uint64) (*entry, *slab) {
	e := &b.entries[seq%blockSize]
	s := e.slab.Load()
	if s == nil {
		return nil, nil
	}
	return e, s
}

// next returns the entry for the number end. put makes it visible.
func (r *ring) next() *entry {
	seq := r.end.Load()
	base := seq &^ (blockSize - 1)
	if r.newest == nil || r.newest.base != base {
		r.newest = &block{base: base, written: r.written}
		for slot(*r.blocks.Load(), seq).Load() != nil {
			r.grow()
		}
		slot(*r.blocks.Load(), seq).Store(r.newest)
	}
	return &r.newest.entries[seq%blockSize]
}

func (r *ring) grow() {
	blocks := *r.blocks.Load()
	more := make([]atomic.Pointer[block], 2*len(blocks))
	for i := range blocks {
		if b := blocks[i].Load(); b != nil {
			slot(more, b.base).Store(b)
		}
	}
	r.blocks.Store(&more)
}

// reserve returns a slab in which n bytes from off on are the caller's.
func (r *ring) reserve(n int) (s *slab, off int) {
	if r.slab == nil || r.used+n > len(r.slab.b) {
		r.slab, r.used = &slab{b: make([]byte, max(n, slabSize))}, 0
	}
	off = r.used
	r.used += n
	return r.slab, off
}

// put makes the entry that next returned visible.
func (r *ring) put(e *entry, s *slab) {
	seq := r.end.Load()
	r.held += e.cost()
	r.written += uint64(e.size)
	r.lastOf[e.lane].Store(seq)
	e.slab.Store(s)
	r.end.Store(seq + 1)
}

// evict removes the oldest entries while the ring holds more than limit bytes or they were
// published before oldest. It always keeps the newest entry.
func (r *ring) evict(limit int, oldest int64) {
	first, end := r.first.Load(), r.end.Load()
	start := first
	for first+1 < end {
		b := r.find(first)
		e := &b.entries[first%blockSize]
		if r.held <= limit && e.at >= oldest {
			break
		}
		r.drop(b, e, first)
		first++
	}
	if first != start {
		r.first.Store(first)
	}
}

func (r *ring) drop(b *block, e *entry, seq uint64) {
	r.held -= e.cost()
	r.left = e.at
	e.slab.Store(nil)
	if seq%blockSize == blockSize-1 {
		slot(*r.blocks.Load(), b.base).Store(nil)
	}
}

// skip gives a number to a message that is not kept, and removes all entries.
func (r *ring) skip(lane int, at int64) {
	first, end := r.first.Load(), r.end.Load()
	for ; first < end; first++ {
		b := r.find(first)
		r.drop(b, &b.entries[first%blockSize], first)
	}
	r.lastOf[lane].Store(end)
	r.left = at
	end++
	if b := r.newest; b != nil && b.base != end&^(blockSize-1) {
		if p := slot(*r.blocks.Load(), b.base); p.Load() == b {
			p.Store(nil)
		}
		r.newest = nil
	}
	r.end.Store(end)
	r.first.Store(end)
}

// search returns the first number in the ring that was published at a time or later, end if
// there is none.
func (r *ring) search(at int64) uint64 {
	lo, hi := r.first.Load(), r.end.Load()
	for lo < hi {
		mid := lo + (hi-lo)/2
		// An entry that is nil has just left the ring.
		if e, _ := r.at(mid); e == nil || e.at < at {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// hash32 returns the FNV-1a hash of s, folded to 32 bits so that it is never zero.
func hash32(s string) uint32 {
	h := hash.FNV1a(s)
	return uint32(bits.RotateLeft64(h, 32)^h) | 1
}
