//go:build !race

package codec_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/codecvalues"
)

// The tests of this file do not run under the race detector: they do much work in one goroutine,
// which would cost ten times as much there, and the detector would see nothing new.

// TestHonestMessagesPassTheDefaults checks that messages that applications send stay within the default
// limits.
func TestHonestMessagesPassTheDefaults(t *testing.T) {
	// Larger messages are no different: beyond what every body may take they may take as much memory for each byte.
	const size = 256 << 10
	type point struct {
		X int `cbor:"1,keyasint"`
		Y int `cbor:"2,keyasint"`
	}
	type tree struct {
		Name string
		Next []*tree
	}
	deep := &tree{Name: "leaf"}
	// Each step adds two levels, a struct and a list.
	for range 48 {
		deep = &tree{Name: "inner", Next: []*tree{deep}}
	}
	many := make(map[string]string, 30_000)
	for i := range 30_000 {
		many[fmt.Sprint(i)] = "v"
	}
	anys := make([]any, size/2)
	for i := range anys {
		anys[i] = int64(i % 200)
	}
	for name, v := range map[string]any{
		"16385 numbers":        make([]int, 16385),
		"numbers":              make([]int64, size-8),
		"floats":               make([]float64, size/4),
		"flags":                make([]bool, size-8),
		"empty strings":        make([]string, size-8),
		"short strings":        strings.Split(strings.Repeat("ab,", size/4), ","),
		"points":               make([]point, size/6),
		"points in a map":      map[string][]point{"a": make([]point, size/6)},
		"pairs":                many,
		"lists":                slicesOf(size/4-2, []int{1, 2, 3}),
		"pointers to nothing":  make([]*codecvalues.Small, size-8),
		"structs":              make([]codecvalues.Small, size/32),
		"any":                  anys,
		"any in a struct":      struct{ Attributes map[string]any }{map[string]any{"a": anys}},
		"96 levels":            deep,
		"maps":                 slicesOf(size/16, map[string]int{"identifier": 12345}),
		"maps of any":          slicesOf[any](size/20, map[string]any{"name": "Ada", "age": int64(36)}),
		"sparse, if not large": make([]sparse, 15_000),
	} {
		t.Run(name, func(t *testing.T) {
			c := codec.CBOR()
			p := reflect.New(reflect.TypeOf(v))
			p.Elem().Set(reflect.ValueOf(v))
			in, err := c.Append(nil, p.Interface())
			if err != nil {
				t.Fatal(err)
			}
			if len(in) > size {
				t.Fatalf("the sample has %d bytes, which is more than a message has", len(in))
			}
			out := reflect.New(reflect.TypeOf(v))
			if err := c.Decode(in, out.Interface()); err != nil {
				t.Fatalf("%d bytes: %v", len(in), err)
			}
			if !reflect.DeepEqual(v, out.Elem().Interface()) {
				t.Error("it is not what was sent")
			}
		})
	}
}
