package transport

import (
	"math/bits"
	"sync"
)

const (
	// minPooled is the smallest pooled size class, as a power of two: 4 KiB.
	minPooled = 12
	// minKept is the size class from which on buffers are kept, as a power of two: 64 KiB.
	// Such buffers are allocated in multiples of it.
	minKept = 16
	// maxKept bounds the number of buffers kept.
	maxKept = 64
	// maxKeeping bounds the bytes of buffers kept.
	maxKeeping = 32 << 20
)

// buffers holds byte slices for reuse. Small ones are in pools by size class, in
// powers of two, which the garbage collector empties. Allocating a large one costs
// as much as copying its message, so a bounded number of bytes is kept. The cache
// does not affect behavior, so it may be global.
var buffers struct { //nolint:gochecknoglobals // see above
	pools [minKept]sync.Pool

	mu   sync.Mutex // guards the fields below
	kept [][]byte
	size int
}

// GetBuffer returns a slice of length zero and a capacity of at least n.
func GetBuffer(n int) []byte {
	if n > 1<<(minKept-1) {
		return getLarge(n)
	}
	class := max(bits.Len(uint(max(n, 1)-1)), minPooled)
	if b, ok := buffers.pools[class].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 1<<class)
}

// getLarge returns the smallest kept buffer that holds n bytes, or a new one. It skips
// buffers of more than twice the size, because limits count n and not the capacity.
func getLarge(n int) []byte {
	buffers.mu.Lock()
	best := -1
	for i, b := range buffers.kept {
		if cap(b) >= n && cap(b)/2 <= n && (best < 0 || cap(b) < cap(buffers.kept[best])) {
			best = i
		}
	}
	if best < 0 {
		buffers.mu.Unlock()
		const unit = 1 << minKept
		return make([]byte, 0, (n+unit-1)/unit*unit)
	}
	b, last := buffers.kept[best], len(buffers.kept)-1
	buffers.kept[best], buffers.kept[last] = buffers.kept[last], nil
	buffers.kept = buffers.kept[:last]
	buffers.size -= cap(b)
	buffers.mu.Unlock()
	return b
}

// PutBuffer recycles b. The caller must not use it afterwards.
func PutBuffer(b []byte) {
	class := bits.Len(uint(cap(b))) - 1
	if class < minPooled {
		return
	}
	b = b[:0]
	if class < minKept {
		buffers.pools[class].Put(&b)
		return
	}
	buffers.mu.Lock()
	defer buffers.mu.Unlock()
	if len(buffers.kept) < maxKept && buffers.size+cap(b) <= maxKeeping {
		buffers.size += cap(b)
		buffers.kept = append(buffers.kept, b)
	}
}
