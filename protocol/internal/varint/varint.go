// Package varint encodes QUIC's variable-length integers (RFC 9000, section 16), which the
// records of messaging patterns use: 1, 2, 4 or 8 bytes, big endian, whose first two bits
// are the length.
//
// The Cut functions report false if the bytes end early. They keep nothing, and the slices
// that they return alias their argument. All functions are safe for concurrent use.
package varint

import "encoding/binary"

// Max is the largest integer.
const Max = 1<<62 - 1

// Len returns the length of the shortest form of v.
func Len(v uint64) int {
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

// Append appends the shortest form of v. A v above [Max] is encoded as Max.
func Append(b []byte, v uint64) []byte { return AppendAs(b, min(v, Max), Len(v)) }

// AppendAs appends v in a form of n bytes, which is 1, 2, 4 or 8 and not less than [Len]
// of v.
func AppendAs(b []byte, v uint64, n int) []byte {
	switch n {
	case 1:
		return append(b, byte(v))
	case 2:
		return append(b, byte(v>>8)|1<<6, byte(v))
	case 4:
		return binary.BigEndian.AppendUint32(b, uint32(v)|2<<30)
	default:
		return binary.BigEndian.AppendUint64(b, v|3<<62)
	}
}

// AppendBytes appends the length of v, and v.
func AppendBytes[V string | []byte](b []byte, v V) []byte {
	return append(Append(b, uint64(len(v))), v...)
}

// Cut reads an integer from the start of b.
func Cut(b []byte) (v uint64, rest []byte, ok bool) {
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

// CutBytes reads a length, and that many bytes, from the start of b.
func CutBytes(b []byte) (v, rest []byte, ok bool) {
	n, b, ok := Cut(b)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}
