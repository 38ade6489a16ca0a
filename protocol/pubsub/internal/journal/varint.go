package journal

import "encoding/binary"

const maxVarint = 1<<62 - 1

// varintLen returns the length of the shortest form of v (RFC 9000, section 16).
func varintLen(v uint64) int {
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

// appendVarint appends v in a form of n bytes, which [varintLen] says or more.
func appendVarint(b []byte, v uint64, n int) []byte {
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

func appendUint(b []byte, v uint64) []byte { return appendVarint(b, v, varintLen(v)) }

// cutVarint reads a varint from the start of b; ok is false if b ends in it.
func cutVarint(b []byte) (v uint64, rest []byte, ok bool) {
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

// cutBytes reads a length and as many bytes.
func cutBytes(b []byte) (v, rest []byte, ok bool) {
	n, b, ok := cutVarint(b)
	if !ok || n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}
