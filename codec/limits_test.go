package codec_test

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/codecvalues"
	"github.com/linkmesh/link/internal/race"
)

// sparse is large and mostly empty: 4 bytes of a body become 256 bytes of memory.
type sparse struct {
	ID   int     `cbor:"i,omitempty"`
	Rest [31]int `cbor:"r,omitempty,omitzero"`
}

func slicesOf[T any](n int, v T) []T {
	list := make([]T, n)
	for i := range list {
		list[i] = v
	}
	return list
}

func TestLimitsHoldOnBothSides(t *testing.T) {
	limited, err := codec.NewCBOR(codec.Limits{MaxNesting: 4, MaxExpansion: 2})
	if err != nil {
		t.Fatal(err)
	}
	free, err := codec.NewCBOR(codec.Limits{MaxExpansion: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var nested any = []any{}
	for range 5 {
		nested = []any{nested}
	}
	for _, tt := range []struct {
		name  string
		value any
		want  codec.LimitError
		text  string
	}{
		{"levels", nested, codec.LimitError{Limit: "MaxNesting", Max: 4, Got: 6}, "nests 6 levels, Limits.MaxNesting is 4"},
		{"levels of a type", [][][][][]int{{{{{}}}}}, codec.LimitError{Limit: "MaxNesting", Max: 4, Got: 5}, "nests 5 levels, Limits.MaxNesting is 4"},
		{"memory", make([]int64, 1<<20), codec.LimitError{Limit: "MaxExpansion", Max: 2, Got: 8}, "takes 8 bytes of memory for each of its own when it is decoded, Limits.MaxExpansion is 2"},
	} {
		check := func(t *testing.T, op string, err error) {
			t.Helper()
			got, ok := errors.AsType[*codec.LimitError](err)
			if !ok {
				t.Fatalf("%s: got %v, want a LimitError", op, err)
			}
			if diff := cmp.Diff(tt.want, *got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", op, diff)
			}
			if !strings.HasSuffix(err.Error(), tt.text) {
				t.Errorf("%s: %q, want it to end with %q", op, err, tt.text)
			}
		}
		t.Run(tt.name, func(t *testing.T) {
			_, err := limited.Append(nil, tt.value)
			check(t, "Append", err)
			in, err := free.Append(nil, tt.value)
			if err != nil {
				t.Fatal(err)
			}
			check(t, "Decode", limited.Decode(in, reflect.New(reflect.TypeOf(tt.value)).Interface()))
		})
	}
}

func TestLimitsLetThroughWhatIsWithin(t *testing.T) {
	c, err := codec.NewCBOR(codec.Limits{MaxNesting: 4, MaxExpansion: 8})
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"levels":         []any{[]any{[]any{[]any{}}}},
		"levels of type": [][][][]int{{{{1}}}},
		"unused levels":  [][][][][]int{{}},
		"memory":         make([]int64, 1<<20),
		"free memory":    make([]sparse, codec.FreeMemory/int(reflect.TypeFor[sparse]().Size())),
	} {
		in, err := c.Append(nil, v)
		if err == nil {
			err = c.Decode(in, reflect.New(reflect.TypeOf(v)).Interface())
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// bombTypes returns destinations of every kind, by name.
func bombTypes() map[string]func() any {
	type unknown struct{ A int }
	type embedded struct{ *record }
	type tuple struct {
		_    struct{} `cbor:",toarray"`
		A, B *record
	}
	return map[string]func() any{
		"any":               func() any { return new(any) },
		"records":           func() any { return new([]record) },
		"lists of records":  func() any { return new([][]record) },
		"pointers":          func() any { return new([]*record) },
		"pointers twice":    func() any { return new([]**record) },
		"embedded pointers": func() any { return new([]embedded) },
		"tuples":            func() any { return new([]tuple) },
		"arrays":            func() any { return new([][64]record) },
		"maps":              func() any { return new([]map[string]record) },
		"map":               func() any { return new(map[string]*record) },
		"map of numbers":    func() any { return new(map[int]*record) },
		"unknown fields":    func() any { return new([]unknown) },
		"one struct":        func() any { return new(unknown) },
		"strings":           func() any { return new([]string) },
		"bytes":             func() any { return new([][]byte) },
		"flags":             func() any { return new([]bool) },
	}
}

// drops returns bodies of about n bytes that become as much memory as possible, by name.
func drops(n int) map[string][]byte {
	list := func(element string) []byte {
		return append(array(n/len(element), 0)[:5], strings.Repeat(element, n/len(element))...)
	}
	pairs := func(value string) []byte {
		count := n / (5 + len(value))
		out := append([]byte{0xba}, array(count, 0)[1:5]...)
		for i := range count {
			out = fmt.Appendf(out, "\x64%04x%s", i&0xffff, value)
		}
		return out
	}
	numbers := func() []byte {
		count := n / 4
		out := append([]byte{0xba}, array(count, 0)[1:5]...)
		for i := range count {
			out = append(out, 0x19, byte(i>>8), byte(i), 0xa0)
		}
		return out
	}
	return map[string][]byte{
		"empty maps": list("\xa0"), "empty lists": list("\x80"), "nulls": list("\xf6"), "zeros": list("\x00"), "numbers": list("\x19\x01\x00"),
		"texts": list("\x61a"), "empty texts": list("\x60"), "byte strings": list("\x41a"),
		"lists of maps": list("\x84\xa0\xa0\xa0\xa0"), "lists of two": list("\x82\xa0\xa0"), "lists of one": list("\x81\xa0"),
		"maps of one": list("\xa1\x00\x00"), "maps of one text": list("\xa1\x61A\x60"), "maps of nine": list("\xa9\x00\x00\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06\x00\x07\x00\x08\x00"),
		"pairs of maps": pairs("\xa0"), "pairs of null": pairs("\xf6"), "numbered pairs": numbers(),
	}
}

// TestABombCostsWhatIsAllowed decodes bodies that become as much memory as possible into every kind of
// destination. Limits.MaxExpansion bounds the memory that a decoded value keeps. It does not bound garbage: the
// decoder makes an error of 64 bytes for each element of a wrong type, and drops all but the first.
func TestABombCostsWhatIsAllowed(t *testing.T) { // SEC-350
	const size = 128 << 10
	const most, garbage, slack = codec.DefaultMaxExpansion * size, 72 * size, 4 << 10
	if race.Enabled {
		// The race detector takes memory of its own, so that no figure would be right.
		return
	}
	c := codec.CBOR()
	refused, worst := 0, int64(0)
	for name, destination := range bombTypes() {
		for drop, in := range drops(size) {
			v := destination()
			estimate, bound := codec.Memory(c, in, v)
			if estimate > bound {
				t.Errorf("%s into %s: estimated %d bytes of memory, thought at most %d possible", drop, name, estimate, bound)
			}
			took, err := taken(func() error { return c.Decode(in, v) })
			// What was allocated is an upper bound of what is kept.
			kept := took
			if err == nil && took > min(most, estimate*9/8)+slack {
				v = destination()
				kept = keeps(func() { err = c.Decode(in, v) })
				runtime.KeepAlive([]any{v, in})
			}
			if worst = max(worst, kept); err == nil && kept > most+slack || took > most+garbage {
				t.Errorf("%s into %s: %d bytes became %d of memory, and %d with garbage; want at most %d and %d", drop, name, len(in), kept, took, most, most+garbage)
			}
			if err == nil && kept > estimate*9/8+slack {
				t.Errorf("%s into %s: took %d bytes of memory, estimated %d", drop, name, kept, estimate)
			}
			if _, over := errors.AsType[*codec.LimitError](err); over {
				if refused++; took > slack {
					t.Errorf("%s into %s: to refuse it took %d bytes of memory", drop, name, took)
				}
			}
		}
	}
	if refused == 0 {
		t.Error("no bomb was refused")
	}
	t.Logf("at most %d bytes of memory for a body of %d; %d refused", worst, size, refused)
}

// taken returns how many bytes of memory f allocates.
func taken(f func() error) (int64, error) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc), err
}

// keeps returns how many bytes of memory are in use after f that were not before.
func keeps(f func()) int64 {
	var before, after runtime.MemStats
	// Only the second collection frees what pools keep.
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// TestEstimatesHold compares the estimate with the memory that a decoded value keeps. That memory may exceed the
// estimate, which serves as a bound, by an eighth at most. The estimate may be at most twice the memory, so that no
// message is refused without need.
func TestEstimatesHold(t *testing.T) {
	type inner struct {
		A string
		B *int
	}
	type outer struct {
		inner
		List []inner
		Map  map[string]inner
		Any  any
	}
	free, err := codec.NewCBOR(codec.Limits{MaxExpansion: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	one := 1
	texts := make(map[string]int)
	for i := range 30_000 {
		texts[fmt.Sprint(i)] = i
	}
	for name, v := range map[string]any{
		"numbers": make([]int, 100_000), "texts": slicesOf(50_000, "some text"), "structs": slicesOf(50_000, inner{"text", &one}),
		"map": texts, "maps": slicesOf(2000, map[string]int{"a": 1, "b": 2}),
		"all": slicesOf(500, outer{inner{"a", &one}, []inner{{"b", nil}}, map[string]inner{"c": {"d", &one}}, []any{"x", int64(1000), 1.5}}),
		"any": slicesOf[any](5000, map[string]any{"a": "b", "c": []any{int64(1000)}}), "bytes": slicesOf(10_000, make([]byte, 100)),
		"everything": slicesOf(2000, codecvalues.Filled()),
	} {
		p := reflect.New(reflect.TypeOf(v))
		p.Elem().Set(reflect.ValueOf(v))
		in, err := free.Append(nil, p.Interface())
		if err != nil {
			t.Fatal(err)
		}
		out := reflect.New(reflect.TypeOf(v)).Interface()
		estimate, most := codec.Memory(free, in, out)
		kept := keeps(func() { err = free.Decode(in, out) })
		runtime.KeepAlive([]any{v, p, in, out})
		if err != nil {
			t.Fatal(name, err)
		}
		t.Logf("%s: %d bytes, took %d, estimated %d, at most %d", name, len(in), kept, estimate, most)
		// The race detector takes memory of its own.
		if !race.Enabled && kept > estimate*9/8+4096 || estimate > kept*2 {
			t.Errorf("%s: took %d bytes of memory, estimated %d", name, kept, estimate)
		}
	}
}

func FuzzMemory(f *testing.F) {
	c := codec.CBOR()
	for _, in := range drops(64) {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for name, destination := range bombTypes() {
			v := destination()
			estimate, most := codec.Memory(c, in, v)
			if estimate > most {
				t.Fatalf("%x into %s: estimated %d bytes of memory, thought at most %d possible", in, name, estimate, most)
			}
		}
	})
}
