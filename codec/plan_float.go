package codec

import (
	"encoding/binary"
	"math"
	"reflect"
)

// Initial bytes of IEEE 754 half, single and double precision.
const (
	encodedHalf   = 0xf9
	encodedSingle = 0xfa
	encodedDouble = 0xfb

	// halfNaN is the only NaN that is written.
	halfNaN  = 0x7e00
	halfInf  = 0x7c00
	halfSign = 0x8000
)

// appendFloat appends f in the shortest precision that represents it exactly.
func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) {
		return binary.BigEndian.AppendUint16(append(dst, encodedHalf), halfNaN)
	}
	single := float32(f)
	if float64(single) != f {
		return binary.BigEndian.AppendUint64(append(dst, encodedDouble), math.Float64bits(f))
	}
	if half, ok := toHalf(single); ok {
		return binary.BigEndian.AppendUint16(append(dst, encodedHalf), half)
	}
	return binary.BigEndian.AppendUint32(append(dst, encodedSingle), math.Float32bits(single))
}

func decodeFloat(data []byte, v reflect.Value) (rest []byte, ok bool) {
	f, rest, ok := readFloat(data)
	if !ok || v.Kind() == reflect.Float32 && data[0] == encodedDouble {
		return nil, false
	}
	v.SetFloat(f)
	return rest, true
}

// readFloat reads a float. ok is false if data is not a whole float, or if a
// shorter precision represents it exactly.
func readFloat(data []byte) (f float64, rest []byte, ok bool) {
	switch {
	case len(data) >= 3 && data[0] == encodedHalf:
		half := binary.BigEndian.Uint16(data[1:])
		return fromHalf(half), data[3:], half == halfNaN || half&^halfSign <= halfInf
	case len(data) >= 5 && data[0] == encodedSingle:
		single := math.Float32frombits(binary.BigEndian.Uint32(data[1:]))
		_, shorter := toHalf(single)
		return float64(single), data[5:], !shorter && !math.IsNaN(float64(single))
	case len(data) >= 9 && data[0] == encodedDouble:
		f = math.Float64frombits(binary.BigEndian.Uint64(data[1:]))
		return f, data[9:], float64(float32(f)) != f && !math.IsNaN(f)
	default:
		return 0, nil, false
	}
}

// toHalf returns the half precision bits of f, which must not be NaN, and
// whether they represent it exactly.
func toHalf(f float32) (half uint16, exact bool) {
	bits := math.Float32bits(f)
	sign := uint16(bits>>16) & halfSign
	exponent := int(bits>>23&0xff) - 127
	fraction := bits & (1<<23 - 1)
	switch {
	case f == 0:
		return sign, true
	case math.IsInf(float64(f), 0):
		return sign | halfInf, true
	case exponent >= -14 && exponent <= 15:
		return sign | uint16(exponent+15)<<10 | uint16(fraction>>13), fraction&(1<<13-1) == 0
	case exponent >= -24 && exponent < -14:
		// Subnormal numbers are multiples of 2^-24.
		fraction |= 1 << 23
		shift := -exponent - 1
		return sign | uint16(fraction>>shift), fraction&(1<<shift-1) == 0
	default:
		return 0, false
	}
}

func fromHalf(half uint16) float64 {
	sign := uint64(half&halfSign) << 48
	exponent := uint64(half >> 10 & 0x1f)
	fraction := uint64(half & (1<<10 - 1))
	switch exponent {
	case 0:
		return math.Float64frombits(sign | math.Float64bits(float64(fraction)*0x1p-24))
	case 0x1f:
		exponent = 0x7ff
	default:
		exponent += 1023 - 15
	}
	return math.Float64frombits(sign | exponent<<52 | fraction<<42)
}
