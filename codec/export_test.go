package codec

import "reflect"

// The default limits, and the memory that every body may take.
const (
	DefaultMaxNesting   = defaultMaxNesting
	DefaultMaxExpansion = defaultMaxExpansion
	FreeMemory          = freeMemory
)

// Library returns c, made by [NewCBOR], without its plans: every value goes
// through the CBOR library.
func Library(c Codec) Codec { return library{own(c)} }

type library struct{ *cborCodec }

func (l library) Append(dst []byte, v any) ([]byte, error) {
	if v == nil {
		return l.cborCodec.Append(dst, v)
	}
	return l.libraryAppend(dst, v, l.plans.of(v))
}
func (l library) Decode(data []byte, v any) error { return l.libraryDecode(data, v, l.plans.of(v)) }

// HasPlan reports whether c, made by [NewCBOR], has a plan for v.
func HasPlan(c Codec, v any) bool {
	return v != nil && own(c).plans.of(v).plan != nil && !reflect.ValueOf(v).IsNil()
}

// DecodeByPlan reports whether the plan of c for v reads data by itself.
func DecodeByPlan(c Codec, data []byte, v any) bool {
	return HasPlan(c, v) && own(c).plans.of(v).plan.decode(data, reflect.ValueOf(v).Elem())
}

// Memory returns how many bytes of memory c expects data to become in v, and the bound that follows from the
// length of data and the type of v alone.
func Memory(c Codec, data []byte, v any) (estimate, most int64) {
	k := own(c).plans.of(v)
	return memoryOf(data, k.layout, own(c).limits.MaxNesting), k.most * int64(len(data))
}

// Walked reports whether c walks values of the type of v before it encodes them.
func Walked(c Codec, v any) bool {
	return own(c).plans.of(v).layout.levels > own(c).limits.MaxNesting
}

// WithParts makes c walk at most n parts of a value, and returns c.
func WithParts(c Codec, n int) Codec {
	own(c).parts = n
	return c
}

// Walk checks v as c does before it encodes it.
func Walk(c Codec, v any) error { return own(c).fits(v, own(c).plans.of(v)) }

func own(c Codec) *cborCodec {
	found, _ := c.(*cborCodec)
	return found
}
