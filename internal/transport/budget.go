package transport

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// budget bounds the bytes of messages that are being received.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

func (b *budget) give(n int) { b.used.Add(-int64(n)) }

const (
	minPooled = 12 // 4 KiB
	maxPooled = 22 // 4 MiB; larger buffers are left to the garbage collector
)

// buffers holds byte slices by size class, powers of two. It is a cache without
// meaning for behavior, hence global.
var buffers [maxPooled + 1]sync.Pool //nolint:gochecknoglobals // see above

// GetBuffer returns a slice of length zero and a capacity of at least n.
func GetBuffer(n int) []byte {
	class := max(bits.Len(uint(max(n, 1)-1)), minPooled)
	if class > maxPooled {
		return make([]byte, 0, n)
	}
	if b, ok := buffers[class].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 1<<class)
}

// PutBuffer gives a slice back; the caller must not use it afterwards.
func PutBuffer(b []byte) {
	class := bits.Len(uint(cap(b))) - 1
	if class < minPooled || class > maxPooled {
		return
	}
	b = b[:0]
	buffers[class].Put(&b)
}
