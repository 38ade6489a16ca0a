package wire

import "encoding/binary"

// MaxVarint is the largest value a varint can carry.
const MaxVarint = 1<<62 - 1

// AppendVarint appends v in the shortest form of RFC 9000, section 16. It
// panics if v is larger than [MaxVarint]: no caller sends such a value.
func AppendVarint(b []byte, v uint64) []byte {
	switch {
	case v < 1<<6:
		return append(b, byte(v))
	case v < 1<<14:
		return append(b, byte(v>>8)|0x40, byte(v))
	case v < 1<<30:
		return append(b, byte(v>>24)|0x80, byte(v>>16), byte(v>>8), byte(v))
	case v <= MaxVarint:
		return binary.BigEndian.AppendUint64(b, v|0xc0<<56)
	default:
		panic("wire: varint out of range") //nolint:forbidigo // a programmer error: lengths and kinds are bounded far below
	}
}

// ParseVarint parses a varint at the start of b and returns it with its length
// in bytes. The error is [ErrShort] if b ends first.
func ParseVarint(b []byte) (v uint64, n int, err error) {
	if len(b) == 0 {
		return 0, 0, ErrShort
	}
	n = 1 << (b[0] >> 6)
	if len(b) < n {
		return 0, 0, ErrShort
	}
	switch n {
	case 1:
		return uint64(b[0]), 1, nil
	case 2:
		return uint64(binary.BigEndian.Uint16(b)) &^ (1 << 14), 2, nil
	case 4:
		return uint64(binary.BigEndian.Uint32(b)) &^ (1 << 31), 4, nil
	default:
		return binary.BigEndian.Uint64(b) &^ (3 << 62), 8, nil
	}
}

// putVarint4 writes v to b[:4] in the four-byte form, for lengths that are only
// known after the body has been written.
func putVarint4(b []byte, v uint64) {
	binary.BigEndian.PutUint32(b, uint32(v)|2<<30)
}
