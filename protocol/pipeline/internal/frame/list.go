package frame

import "github.com/linkmesh/link/protocol/internal/varint"

// AppendList appends numbers, without their count.
func AppendList(b []byte, numbers []uint64) []byte {
	for _, n := range numbers {
		b = varint.Append(b, n)
	}
	return b
}

// ParseList appends to dst the numbers of a body that holds nothing else. The list may have
// at most [MaxList].
func ParseList(dst []uint64, b []byte) ([]uint64, error) {
	for len(b) > 0 {
		v, rest, ok := varint.Cut(b)
		if !ok || len(dst) >= MaxList {
			return nil, ErrMalformed
		}
		dst, b = append(dst, v), rest
	}
	return dst, nil
}
