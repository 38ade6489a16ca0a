// Package epoch makes the numbers by which peers tell one run of a publisher or a worker from the next.
package epoch

import (
	"crypto/rand"
	"encoding/binary"
)

// New returns 64 random bits. Each pattern keeps as many of them as its frames have room for.
func New() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return binary.BigEndian.Uint64(b[:])
}
