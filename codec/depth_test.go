package codec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/codecvalues"
)

// holdsItself is what errors say about a value that contains itself.
const holdsItself = "the value holds itself"

// endless is a type whose only values are pointers.
type endless *endless

func TestAValueThatHoldsItselfIsAnError(t *testing.T) {
	values := codecvalues.Cycles()
	var p endless
	p = &p
	values["a pointer to itself"] = p
	values["a pointer to itself in a struct"] = &struct{ P endless }{p}
	values["a pointer to itself in an interface"] = []any{p}
	c := codec.CBOR()
	for name, v := range values {
		_, err := c.Append(nil, v)
		if e, ok := errors.AsType[*codec.Error](err); !ok || e.Op != "encode" || !strings.Contains(err.Error(), holdsItself) {
			t.Errorf("%s: got %v, want an error that says %q", name, err, holdsItself)
		}
	}
	if err := c.Decode([]byte{0xf6}, &struct{ P endless }{}); err == nil || !strings.Contains(err.Error(), holdsItself) {
		t.Errorf("decoding into a pointer to itself: got %v, want an error that says %q", err, holdsItself)
	}
}

// TestSharedPartsAreNoCycle checks that a part that is in several places is encoded several times, without an error.
func TestSharedPartsAreNoCycle(t *testing.T) {
	shared := &codecvalues.Person{Name: "shared"}
	list := []any{"x"}
	for _, v := range []any{
		&codecvalues.Person{Name: "p", Parent: shared, Children: []*codecvalues.Person{shared, shared}},
		map[string]any{"a": list, "b": list},
		[]any{list, list, map[string]any{"c": list}},
	} {
		if _, err := codec.CBOR().Append(nil, v); err != nil {
			t.Errorf("%T: %v", v, err)
		}
	}
}

// TestAValueThatMultipliesItselfIsAnError doubles a list 60 times. The value does not contain itself, but its body
// would not fit into any memory.
func TestAValueThatMultipliesItselfIsAnError(t *testing.T) {
	var v any = "x"
	for range 60 {
		v = []any{v, v}
	}
	if _, err := codec.WithParts(codec.CBOR(), 1<<20).Append(nil, v); err == nil || !strings.Contains(err.Error(), "the same ones again and again") {
		t.Errorf("got %v, want an error", err)
	}
}

func TestVeryDeepValuesAreTooDeep(t *testing.T) {
	p := &codecvalues.Person{}
	for range 200_000 {
		p = &codecvalues.Person{Parent: p}
	}
	_, err := codec.CBOR().Append(nil, p)
	if got, ok := errors.AsType[*codec.LimitError](err); !ok || got.Limit != "MaxNesting" || got.Got < 10_000 || got.Max != codec.DefaultMaxNesting {
		t.Errorf("got %v, want a LimitError of at least 10000 levels", err)
	}
}

// TestOnlyTypesThatMayHoldThemselvesAreWalked checks that the check for cycles costs other types nothing.
func TestOnlyTypesThatMayHoldThemselvesAreWalked(t *testing.T) {
	for _, tt := range []struct {
		value any
		want  bool
	}{
		{&codecvalues.Small{}, false},
		{[]map[string][]codecvalues.Small{}, false},
		{&struct{ A, B [][]map[int]**string }{}, false},
		// Everything has a field of its own type.
		{&codecvalues.Everything{}, true},
		{&codecvalues.Person{}, true},
		{[]any{}, true},
		{map[string]struct{ Error error }{}, true},
	} {
		if got := codec.Walked(codec.CBOR(), tt.value); got != tt.want {
			t.Errorf("%T is walked: %v, want %v", tt.value, got, tt.want)
		}
	}
}

// TestWalkingAllocatesNothing checks the cost of walking values that could contain themselves.
func TestWalkingAllocatesNothing(t *testing.T) {
	p := &codecvalues.Person{Name: "parent", Children: []*codecvalues.Person{{Name: "a"}, {Name: "b"}}}
	anys := []any{"x", int64(5), []any{1.5, true, nil}}
	c := codec.CBOR()
	for _, v := range []any{p, &anys} {
		if got := testing.AllocsPerRun(100, func() {
			if err := codec.Walk(c, v); err != nil {
				t.Fatal(err)
			}
		}); got != 0 {
			t.Errorf("walking %T allocates %v times, want 0", v, got)
		}
	}
}

func BenchmarkAppendOfATree(b *testing.B) {
	p := &codecvalues.Person{Name: "root"}
	for range 100 {
		p.Children = append(p.Children, &codecvalues.Person{Name: "child"})
	}
	c := codec.CBOR()
	for name, f := range map[string]func() error{
		"append": func() error { _, err := c.Append(nil, p); return err },
		"walk":   func() error { return codec.Walk(c, p) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
