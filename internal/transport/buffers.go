package transport

import (
	"math/bits"
	"sync"
)

const (
	minPooled  = 12       // 4 KiB
	minKept    = 16       // 64 KiB: from here on buffers are kept, in multiples of it
	maxKept    = 64       // buffers kept
	maxKeeping = 32 << 20 // bytes of buffers kept
)

// buffers holds byte slices for reuse. Small ones are in pools by size class,
// powers of two, that the garbage collector empties; making a large one anew
// costs as much as moving its message, so a bounded number of bytes is kept. It
// is a cache without meaning for behavior, so it may be global.
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

// getLarge returns the smallest kept buffer that n fits in, unless most of it would be
// wasted on n: what is counted is n.
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

// PutBuffer gives a slice back; the caller must not use it afterwards.
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
