package transport

import "sync/atomic"

// SizeHint remembers the buffer size that messages of one kind need, so that encoding a large one into a buffer of
// [GetBuffer] does not grow it step by step. The zero value hints nothing. It is safe for concurrent use.
type SizeHint struct{ size atomic.Int64 }

// Size returns the hint in bytes.
func (h *SizeHint) Size() int { return int(h.size.Load()) }

// Note takes in the size of a message. It writes only if the hint is too small, or far too large.
func (h *SizeHint) Note(size int) {
	if last := h.size.Load(); int64(size) > last || int64(size)*4 < last {
		h.size.Store(int64(size) + int64(size)/8)
	}
}
