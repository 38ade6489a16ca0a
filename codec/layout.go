package codec

import (
	"math"
	"reflect"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// layout is what is known of a type before there is a value or a body: how deep its values nest, whether they
// may hold themselves, and what their bodies become in memory.
type layout struct {
	form   form
	size   int64     // what a value takes as an element or a field
	elem   *layout   // what a pointer, list or map holds
	key    *layout   // the keys of a map
	length int       // the length of an array; -1 for a slice
	fields []element // the fields of a struct
	byName map[string]int
	byInt  map[int64]int
	tuple  bool // a struct that travels as an array
	opaque bool // its own methods encode it

	// levels is how deep values nest, boundless if they may hold values of their own type, or of any.
	levels int
	// broken says what no value can be made of: a pointer type that only points to itself.
	broken bool
}

// element is a field of a struct that travels.
type element struct {
	index  []int // as in reflect.Value.FieldByIndex
	layout *layout
	// through is what the pointers to embedded structs on the way take.
	through int64
}

// boundless is how deep values nest that may hold themselves.
const boundless = math.MaxInt

// form is what a type is for the codec.
type form uint8

const (
	formScalar form = iota // fits its place: numbers, times, and what has no encoding
	formText               // strings
	formRaw                // decodes itself, from a copy of its bytes
	formPointer
	formList // slices and arrays
	formMap
	formStruct
	formAny // interfaces
)

// layouts are those of one codec. Like plans they are as bounded as the types of a program.
type layouts struct {
	byType sync.Map // reflect.Type to *layout, complete

	mu sync.Mutex // one compiles at a time
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

// layoutCompiler makes the layouts of a type and of those it is made of.
type layoutCompiler struct {
	known *layouts
	made  map[reflect.Type]*layout
	own   map[*layout]bool // those of made; the others are in use, and are not written to
	state map[*layout]deepening
}

func (c *layoutCompiler) compile(t reflect.Type) *layout {
	if known, ok := c.known.byType.Load(t); ok {
		l, _ := known.(*layout)
		return l
	}
	if l, ok := c.made[t]; ok {
		return l // complete, or of a type that holds itself
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

// deepen finds out how deep values of a layout nest. One that is found again on the way down holds itself, and
// so do all that hold it.
func (c *layoutCompiler) deepen(l *layout) (levels int, broken bool) {
	switch c.state[l] {
	case deepeningNow:
		return boundless, c.pointsToItself(l)
	case deepened:
		return l.levels, l.broken
	}
	if !c.own[l] { // known before, complete
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

// pointsToItself reports whether l is a pointer that leads to nothing but pointers.
func (*layoutCompiler) pointsToItself(l *layout) bool {
	for next := l; next.form == formPointer; {
		if next = next.elem; next == l {
			return true
		}
	}
	return false
}

// parts are the layouts of what a value is made of.
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
