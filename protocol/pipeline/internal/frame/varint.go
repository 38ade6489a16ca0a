package frame

import (
	"errors"

	"github.com/linkmesh/link/protocol/internal/varint"
)

// ErrMalformed is returned for a body that cannot be parsed.
var ErrMalformed = errors.New("the frame is malformed")

// VarintLen returns the length of the shortest encoding of v.
func VarintLen(v uint64) int { return varint.Len(v) }

// AppendUint appends the shortest encoding of v.
func AppendUint(b []byte, v uint64) []byte { return varint.Append(b, v) }

// AppendBytes appends the length of v, and v.
func AppendBytes[V string | []byte](b []byte, v V) []byte { return varint.AppendBytes(b, v) }

// CutUint reads a varint from the start of b. ok is false if b ends before the varint does.
func CutUint(b []byte) (v uint64, rest []byte, ok bool) { return varint.Cut(b) }

// CutBytes reads a length and as many bytes, which alias b.
func CutBytes(b []byte) (v, rest []byte, ok bool) { return varint.CutBytes(b) }

// AppendList appends numbers, without their count.
func AppendList(b []byte, numbers []uint64) []byte {
	for _, n := range numbers {
		b = AppendUint(b, n)
	}
	return b
}

// ParseList appends to dst the numbers of a body that holds nothing else. The list may have
// at most [MaxList].
func ParseList(dst []uint64, b []byte) ([]uint64, error) {
	for len(b) > 0 {
		v, rest, ok := CutUint(b)
		if !ok || len(dst) >= MaxList {
			return nil, ErrMalformed
		}
		dst, b = append(dst, v), rest
	}
	return dst, nil
}
