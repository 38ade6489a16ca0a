package consul

import (
	"errors"
	"io"
)

// errTooLarge means that an answer exceeds its size limit.
var errTooLarge = errors.New("answer is too large")

// boundedBody limits a body to left bytes. Beyond that, Read returns errTooLarge or, if cut is set,
// io.EOF.
type boundedBody struct {
	io.ReadCloser
	left int64
	cut  bool
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		if b.cut {
			return 0, io.EOF
		}
		// The body may end exactly at the limit.
		var one [1]byte
		if n, err := b.ReadCloser.Read(one[:]); n == 0 {
			return 0, err
		}
		return 0, errTooLarge
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}

// head keeps the first bytes of a body for messages about it, at most most bytes.
type head struct {
	io.ReadCloser
	most int
	kept []byte
}

func (h *head) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	h.kept = append(h.kept, p[:min(n, h.most-len(h.kept))]...)
	return n, err
}
