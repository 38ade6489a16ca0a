package codectest

import (
	"math"
	"net/netip"
	"time"

	"github.com/linkmesh/link/internal/codecvalues"
)

// Samples returns values that every codec of Go values must support.
func Samples() []Sample {
	return []Sample{
		sample("small struct", codecvalues.Small{ID: "o-1", Customer: "Zoë", Amount: -12, Paid: true}),
		sample("zero struct", codecvalues.Small{}),
		sample("empty struct", struct{}{}),
		sample("every kind", everything()),
		sample("string", "hello, 世界"),
		sample("empty string", ""),
		sample("bytes", []byte{0, 1, 0xff}),
		sample("nil bytes", []byte(nil)),
		sample("largest int", int64(math.MaxInt64)),
		sample("smallest int", int64(math.MinInt64)),
		sample("largest uint", uint64(math.MaxUint64)),
		sample("float that needs 64 bits", math.Pi),
		sample("slice of structs", []codecvalues.Small{{ID: "a"}, {ID: "b"}}),
		sample("empty slice", []string{}),
		sample("map", map[string]codecvalues.Small{"x": {ID: "x"}}),
		sample("nil pointer", (*codecvalues.Small)(nil)),
		sample("time with nanoseconds", time.Date(2026, 11, 21, 13, 14, 15, 123456789, time.UTC)),
		sample("time with an offset", time.Date(2026, 11, 21, 13, 14, 15, 0, time.FixedZone("", -5*3600))),
		sample("zero time", time.Time{}),
	}
}

func everything() codecvalues.Everything {
	return codecvalues.Everything{
		Text: "t", Bytes: []byte("b"), Int: -1, Uint: 1 << 63, Small: -128, Float: 0.1, Bool: true,
		Time:    time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Wait:    1500 * time.Millisecond,
		Addr:    netip.MustParseAddr("fd00::1"),
		List:    []string{"a", ""},
		Map:     map[string]int{"a": 1, "b": -1},
		Nested:  &codecvalues.Everything{Text: "inner", Addr: netip.MustParseAddr("10.0.0.1")},
		Structs: []codecvalues.Small{{ID: "s"}},
		Array:   [4]uint16{1, 2, 3, 65535},
	}
}

func sample[T any](name string, v T) Sample {
	return Sample{Name: name, Value: &v, New: func() any { return new(T) }}
}
