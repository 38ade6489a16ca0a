package codecvalues

import (
	"math"
	"net/netip"
	"time"
)

// Named is a value, by a pointer to it, and the name of what is special about it.
type Named struct {
	Name  string
	Value any
}

func named[T any](name string, v T) Named { return Named{name, &v} }

// Common returns values that every codec of Go values must support.
func Common() []Named {
	return []Named{
		named("small struct", Small{ID: "o-1", Customer: "Zoë", Amount: -12, Paid: true}),
		named("zero struct", Small{}),
		named("empty struct", struct{}{}),
		named("every kind", Filled()),
		named("string", "hello, 世界"),
		named("empty string", ""),
		named("bytes", []byte{0, 1, 0xff}),
		named("nil bytes", []byte(nil)),
		named("largest int", int64(math.MaxInt64)),
		named("smallest int", int64(math.MinInt64)),
		named("largest uint", uint64(math.MaxUint64)),
		named("float that needs 64 bits", math.Pi),
		named("slice of structs", []Small{{ID: "a"}, {ID: "b"}}),
		named("empty slice", []string{}),
		named("map", map[string]Small{"x": {ID: "x"}}),
		named("nil pointer", (*Small)(nil)),
		named("time with nanoseconds", time.Date(2026, 11, 21, 13, 14, 15, 123456789, time.UTC)),
		named("time with an offset", time.Date(2026, 11, 21, 13, 14, 15, 0, time.FixedZone("", -5*3600))),
		named("zero time", time.Time{}),
	}
}

// Filled returns a value in which nearly every field is set.
func Filled() Everything {
	return Everything{
		Text: "t", Bytes: []byte("b"), Int: -1, Uint: 1 << 63, Small: -128, Float: 0.1, Bool: true,
		Time:    time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Wait:    1500 * time.Millisecond,
		Addr:    netip.MustParseAddr("fd00::1"),
		List:    []string{"a", ""},
		Map:     map[string]int{"a": 1, "b": -1},
		Nested:  &Everything{Text: "inner", Addr: netip.MustParseAddr("10.0.0.1")},
		Structs: []Small{{ID: "s"}},
		Array:   [4]uint16{1, 2, 3, 65535},
	}
}
