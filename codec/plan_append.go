package codec

import (
	"encoding/binary"
	"math"
	"reflect"
)

// Initial bytes of RFC 8949 section 3: a major type is its upper three bits.
const (
	majorUint   byte = 0 << 5
	majorNegInt byte = 1 << 5
	majorBytes  byte = 2 << 5
	majorText   byte = 3 << 5
	majorArray  byte = 4 << 5
	majorMap    byte = 5 << 5
	majorTag    byte = 6 << 5

	// With these lower five bits, the argument follows in 1, 2, 4 or 8 bytes.
	head8  = 24
	head16 = 25
	head32 = 26
	head64 = 27

	encodedFalse     = 0xf4
	encodedTrue      = 0xf5
	encodedNull      = 0xf6
	encodedUndefined = 0xf7

	// maxHead is the length of the longest head of an item, and of the longest integer or float.
	maxHead = 9
)

// append appends the encoding of v, a struct of the plan's type.
func (p *plan) append(dst []byte, v reflect.Value) []byte {
	// Allocate once instead of field by field.
	if cap(dst) == 0 {
		dst = make([]byte, 0, p.room)
	}
	dst = append(dst, p.head)
	for i := range p.fields {
		f := &p.fields[i]
		dst = append(dst, f.key...)
		dst = f.append(dst, v.Field(f.index))
	}
	return dst
}

func (f *planField) append(dst []byte, v reflect.Value) []byte {
	switch f.shape {
	case shapeText:
		s := v.String()
		return append(appendHead(dst, majorText, uint64(len(s))), s...)
	case shapeBytes:
		b := v.Bytes()
		if b == nil {
			return append(dst, encodedNull)
		}
		return append(appendHead(dst, majorBytes, uint64(len(b))), b...)
	case shapeBool:
		if v.Bool() {
			return append(dst, encodedTrue)
		}
		return append(dst, encodedFalse)
	case shapeInt:
		return appendInt(dst, v.Int())
	case shapeUint:
		return appendHead(dst, majorUint, v.Uint())
	case shapeFloat:
		return appendFloat(dst, v.Float())
	}
	return dst
}

func appendInt(dst []byte, n int64) []byte {
	if n < 0 {
		return appendHead(dst, majorNegInt, uint64(^n))
	}
	return appendHead(dst, majorUint, uint64(n))
}

// appendHead appends a head in its shortest form.
func appendHead(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < head8:
		return append(dst, major|byte(n))
	case n <= math.MaxUint8:
		return append(dst, major|head8, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, major|head16), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, major|head32), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, major|head64), n)
	}
}
