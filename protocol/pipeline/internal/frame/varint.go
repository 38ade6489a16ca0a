package frame

import (
	"encoding/binary"
	"errors"
)

// ErrMalformed is why a body could not be parsed.
var ErrMalformed = errors.New("the frame is malformed")

const maxVarint = 1<<62 - 1

// VarintLen returns the length of the shortest form of v (RFC 9000, section 16).
func VarintLen(v uint64) int {
	switch {
	case v < 1<<6:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<30:
		return 4
	default:
		return 8
	}
}

// AppendUint appends the shortest form of v; what is above 2^62-1 becomes that.
func AppendUint(b []byte, v uint64) []byte {
	switch {
	case v < 1<<6:
		return append(b, byte(v))
	case v < 1<<14:
		return append(b, byte(v>>8)|1<<6, byte(v))
	case v < 1<<30:
		return binary.BigEndian.AppendUint32(b, uint32(v)|2<<30)
	default:
		return binary.BigEndian.AppendUint64(b, min(v, maxVarint)|3<<62)
	}
}

// AppendBytes appends a length and v.
func AppendBytes[V string | []byte](b []byte, v V) []byte {
	return append(AppendUint(b, uint64(len(v))), v...)
}

// CutUint reads a varint from the start of b; ok is false if b ends in it.
func CutUint(b []byte) (v uint64, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	n := 1 << (b[0] >> 6)
	if len(b) < n {
		return 0, nil, false
	}
	switch n {
	case 1:
		v = uint64(b[0])
	case 2:
		v = uint64(binary.BigEndian.Uint16(b)) &^ (1 << 14)
	case 4:
		v = uint64(binary.BigEndian.Uint32(b)) &^ (1 << 31)
	default:
		v = binary.BigEndian.Uint64(b) &^ (3 << 62)
	}
	return v, b[n:], true
}

// CutBytes reads a length and as many bytes, which are part of b.
func CutBytes(b []byte) (v, rest []byte, ok bool) {
	n, b, ok := CutUint(b)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}

// AppendList appends numbers.
func AppendList(b []byte, numbers []uint64) []byte {
	for _, n := range numbers {
		b = AppendUint(b, n)
	}
	return b
}

// ParseList reads a body that is nothing but numbers, at most [MaxList].
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
