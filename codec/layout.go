package codec

import (
	"math"
	"reflect"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// layout describes a type independently of values and bodies: how deep its values nest, whether they may
// contain themselves, and how much memory their bodies become.
type layout struct {
	form form
	// size is how many bytes a value takes as an element or a field.
	size int64
	// elem is the layout of what a pointer, list or map holds, key that of the keys of a map.
	elem *layout
	key  *layout
	// length is the length of an array, or -1 for a slice.
	length int
	// fields holds the fields of a struct. byName and byInt map their keys to indexes in it.
	fields []element
	byName map[string]int
	byInt  map[int64]int
	// tuple is set for a struct that is encoded as an array.
	tuple bool
	// opaque is set for a type that is encoded by its own methods.
	opaque bool

	// levels is how deep values nest. It is boundless if they may contain values of their own type, or of an
	// interface type.
	levels int
	// broken is set for a pointer type that only points to itself, and for types made of one.
	broken bool
}

// element is a field of a struct that is encoded.
type element struct {
	// index is as in reflect.Value.FieldByIndex.
	index  []int
	layout *layout
	// through is how many bytes are allocated for embedded structs behind pointers on the way to the field.
	through int64
}

// boundless is the depth of values that may contain themselves.
const boundless = math.MaxInt

// form is the kind of a type, as the codec sees it.
type form uint8

const (
	formScalar form = iota // stored in place: numbers, times, and types without an encoding
	formText               // strings
	formRaw                // decodes itself, from a copy of its bytes
	formPointer
	formList // slices and arrays
	formMap
	formStruct
	formAny // interfaces
)

// layouts caches the layouts of one codec. Like plans, it is bounded by the number of types in a program.
type layouts struct {
	// byType maps each reflect.Type to its complete *layout.
	byType sync.Map

	// mu is held while layouts are compiled.
	mu sync.Mutex
}

// of returns the layout of a type.
func (s *layouts) of(t reflect.Type) *layout {
	if known, ok := s.byType.Load(t); ok {
		l, _ := known.(*layout)
		return l
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := layoutCompiler{known: s, made: make(map[reflect.Type]*layout), own: make(map[*layout]bool)}
	l := c.compile(t)
	for _, made := range c.made {
		c.deepen(made)
	}
	for t, made := range c.made {
		s.byType.LoadOrStore(t, made)
	}
	return l
}

// layoutCompiler makes the layouts of a type and of the types it is made of.
type layoutCompiler struct {
	known *layouts
	made  map[reflect.Type]*layout
	// own holds the layouts in made. Other layouts are in use and must not be written to.
	own   map[*layout]bool
	state map[*layout]deepening
}

func (c *layoutCompiler) compile(t reflect.Type) *layout {
	if known, ok := c.known.byType.Load(t); ok {
		l, _ := known.(*layout)
		return l
	}
	// If t contains itself, the layout may still be incomplete.
	if l, ok := c.made[t]; ok {
		return l
	}
	l := &layout{form: formOf(t), size: int64(t.Size()), length: -1, opaque: marshals(t)}
	c.made[t], c.own[l] = l, true
	switch l.form { //nolint:exhaustive // the others hold nothing
	case formPointer:
		l.elem = c.compile(t.Elem())
	case formList:
		if l.elem = c.compile(t.Elem()); t.Kind() == reflect.Array {
			l.length = t.Len()
		}
	case formMap:
		l.key, l.elem = c.compile(t.Key()), c.compile(t.Elem())
	case formStruct:
		c.fields(t, l)
	}
	return l
}

func formOf(t reflect.Type) form {
	if t == reflect.TypeFor[time.Time]() {
		return formScalar
	}
	if t.Kind() != reflect.Pointer && t.Kind() != reflect.Interface && reflect.PointerTo(t).Implements(reflect.TypeFor[cbor.Unmarshaler]()) {
		return formRaw
	}
	switch t.Kind() { //nolint:exhaustive // the others are scalars
	case reflect.String:
		return formText
	case reflect.Pointer:
		return formPointer
	case reflect.Slice, reflect.Array:
		return formList
	case reflect.Map:
		return formMap
	case reflect.Struct:
		return formStruct
	case reflect.Interface:
		return formAny
	}
	return formScalar
}

type deepening uint8

const (
	deepeningNow deepening = iota + 1
	deepened
)

// deepen computes how deep values of a layout nest. A layout that is met again on the way down may contain
// itself, which makes it, and every layout that contains it, boundless.
func (c *layoutCompiler) deepen(l *layout) (levels int, broken bool) {
	switch c.state[l] {
	case deepeningNow:
		return boundless, c.pointsToItself(l)
	case deepened:
		return l.levels, l.broken
	}
	// A layout from the cache is complete.
	if !c.own[l] {
		return l.levels, l.broken
	}
	if c.state == nil {
		c.state = make(map[*layout]deepening)
	}
	c.state[l] = deepeningNow
	for _, part := range l.parts() {
		n, bad := c.deepen(part)
		levels, broken = max(levels, n), broken || bad
	}
	switch {
	case l.form == formAny:
		levels = boundless
	case levels < boundless && (l.form == formList || l.form == formMap || l.form == formStruct):
		levels++
	}
	l.levels, l.broken = levels, broken
	c.state[l] = deepened
	return levels, broken
}

// pointsToItself reports whether l is a pointer that leads back to itself through pointers only.
func (*layoutCompiler) pointsToItself(l *layout) bool {
	for next := l; next.form == formPointer; {
		if next = next.elem; next == l {
			return true
		}
	}
	return false
}

// parts returns the layouts of the keys, elements and fields of a value.
func (l *layout) parts() []*layout {
	var list []*layout
	if l.key != nil {
		list = append(list, l.key)
	}
	if l.elem != nil {
		list = append(list, l.elem)
	}
	for i := range l.fields {
		list = append(list, l.fields[i].layout)
	}
	return list
}
