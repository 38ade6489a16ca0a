package codec

import (
	"encoding/binary"
	"math"
	"reflect"
	"unicode/utf8"
)

// decode reads data into v, a struct of the plan's type, if data is what append
// would write. Otherwise it returns false and may have written some fields: the
// library then starts over, and writes the same to them or returns an error.
func (p *plan) decode(data []byte, v reflect.Value) bool {
	if len(data) == 0 || data[0] != p.head {
		return false
	}
	data = data[1:]
	for i := range p.fields {
		f := &p.fields[i]
		if len(data) < len(f.key) || string(data[:len(f.key)]) != f.key {
			return false
		}
		rest, ok := f.decode(data[len(f.key):], v.Field(f.index))
		if !ok {
			return false
		}
		data = rest
	}
	return len(data) == 0
}

func (f *planField) decode(data []byte, v reflect.Value) (rest []byte, ok bool) {
	switch f.shape {
	case shapeText:
		s, rest, ok := readString(data, majorText)
		if !ok || !utf8.Valid(s) {
			return nil, false
		}
		v.SetString(string(s))
		return rest, true
	case shapeBytes:
		return decodeBytes(data, v)
	case shapeBool:
		if len(data) == 0 || data[0] != encodedFalse && data[0] != encodedTrue {
			return nil, false
		}
		v.SetBool(data[0] == encodedTrue)
		return data[1:], true
	case shapeInt:
		return decodeInt(data, v)
	case shapeUint:
		major, n, rest, ok := readHead(data)
		if !ok || major != majorUint || v.OverflowUint(n) {
			return nil, false
		}
		v.SetUint(n)
		return rest, true
	case shapeFloat:
		return decodeFloat(data, v)
	}
	return nil, false
}

// decodeBytes replaces the slice in v, as the library does. It does not reuse its
// storage, because the caller may have retained it.
func decodeBytes(data []byte, v reflect.Value) (rest []byte, ok bool) {
	if len(data) > 0 && data[0] == encodedNull {
		v.SetBytes(nil)
		return data[1:], true
	}
	b, rest, ok := readString(data, majorBytes)
	if !ok {
		return nil, false
	}
	own := make([]byte, len(b))
	copy(own, b)
	v.SetBytes(own)
	return rest, true
}

func decodeInt(data []byte, v reflect.Value) (rest []byte, ok bool) {
	major, arg, rest, ok := readHead(data)
	if !ok || major > majorNegInt || arg > math.MaxInt64 {
		return nil, false
	}
	n := int64(arg)
	if major == majorNegInt {
		n = ^n
	}
	if v.OverflowInt(n) {
		return nil, false
	}
	v.SetInt(n)
	return rest, true
}

// readString reads a text or byte string. The result aliases data.
func readString(data []byte, want byte) (s, rest []byte, ok bool) {
	major, n, rest, ok := readHead(data)
	if !ok || major != want || n > uint64(len(rest)) {
		return nil, nil, false
	}
	return rest[:n], rest[n:], true
}

// readHead reads a head. ok is false if it is truncated or not in its shortest
// form.
func readHead(data []byte) (major byte, arg uint64, rest []byte, ok bool) {
	if len(data) == 0 {
		return 0, 0, nil, false
	}
	major, low := data[0]&^0x1f, data[0]&0x1f
	if low < head8 {
		return major, uint64(low), data[1:], true
	}
	arg, rest, ok = readArgument(low, data[1:])
	return major, arg, rest, ok
}

func readArgument(low byte, data []byte) (arg uint64, rest []byte, ok bool) {
	switch {
	case low == head8 && len(data) >= 1:
		return uint64(data[0]), data[1:], data[0] >= head8
	case low == head16 && len(data) >= 2:
		arg = uint64(binary.BigEndian.Uint16(data))
		return arg, data[2:], arg > math.MaxUint8
	case low == head32 && len(data) >= 4:
		arg = uint64(binary.BigEndian.Uint32(data))
		return arg, data[4:], arg > math.MaxUint16
	case low == head64 && len(data) >= 8:
		arg = binary.BigEndian.Uint64(data)
		return arg, data[8:], arg > math.MaxUint32
	default:
		return 0, nil, false
	}
}
