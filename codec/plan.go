package codec

import (
	"encoding"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// maxPlanFields is how many fields a planned struct has at most: the head of
// their map is one byte.
const maxPlanFields = 16

// plan is how a struct of plain fields is written and read without the CBOR
// library, compiled once per type. It never differs from the library in what it
// writes, and reads only the bytes that it would write: everything else, and
// every error, is the library's.
type plan struct {
	head   byte
	fields []planField // in the order of their keys' bytes
	// room is the size of the encoding without the strings.
	room int
}

type planField struct {
	key   string // encoded
	index int
	shape shape
}

// shape is what a field's kind looks like on the wire.
type shape uint8

const (
	shapeText shape = iota + 1
	shapeBytes
	shapeBool
	shapeInt
	shapeUint
	shapeFloat
)

// plans are what one codec knows of types. It is as bounded as the types of a
// program: bodies cannot add to it.
type plans struct {
	byType  sync.Map                              // reflect.Type to *compiled
	recent  [recentPlans]atomic.Pointer[compiled] // by the address of the type: a map costs more than many a plan
	layouts layouts
}

// recentPlans is how many types are found without the map, if their addresses differ.
const recentPlans = 64

// compiled is what is known of a type that was given to the codec.
type compiled struct {
	t      reflect.Type
	plan   *plan   // for the struct that t points to; nil if there is none
	layout *layout // the layout of t, or of what t points to
	most   int64   // bytes of memory that a byte of a body may become
}

// of returns what is known of the type of v, which is not an untyped nil.
func (p *plans) of(v any) *compiled {
	t := reflect.TypeOf(v)
	slot := &p.recent[reflect.ValueOf(t).Pointer()>>6%recentPlans] // types are 64 bytes and more apart
	found := slot.Load()
	if found == nil || found.t != t {
		cached, ok := p.byType.Load(t)
		if !ok {
			cached, _ = p.byType.LoadOrStore(t, p.compile(t))
		}
		found, _ = cached.(*compiled)
		slot.Store(found)
	}
	return found
}

func (p *plans) compile(t reflect.Type) *compiled {
	k := &compiled{t: t}
	if t.Kind() == reflect.Pointer {
		k.plan = compile(t.Elem())
		t = t.Elem()
	}
	k.layout = p.layouts.of(t)
	if !k.layout.broken {
		k.most = k.layout.most(make(map[*layout]bool))
	}
	return k
}

// compile returns the plan of t, or nil if the library must do it.
func compile(t reflect.Type) *plan {
	if t.Kind() != reflect.Struct || encodesItself(t) {
		return nil
	}
	p := new(plan)
	for i := range t.NumField() {
		f := t.Field(i)
		tag := tagOf(f)
		switch {
		case f.Anonymous, f.Name == "_" && tag != "":
			return nil // promoted fields, and options of the struct such as toarray
		case !f.IsExported(), tag == "-":
			continue
		}
		key, ok := keyOf(f.Name, tag)
		shape := shapeOf(f.Type)
		if !ok || shape == 0 || len(p.fields) == maxPlanFields {
			return nil
		}
		p.fields = append(p.fields, planField{key: key, index: i, shape: shape})
		p.room += len(key) + maxHead
	}
	slices.SortFunc(p.fields, func(a, b planField) int { return strings.Compare(a.key, b.key) })
	for i := 1; i < len(p.fields); i++ {
		if p.fields[i].key == p.fields[i-1].key {
			return nil // which of the two travels is for the library to say
		}
	}
	p.head = majorMap | byte(len(p.fields))
	p.room++
	return p
}

func tagOf(f reflect.StructField) string {
	if tag := f.Tag.Get("cbor"); tag != "" {
		return tag
	}
	return f.Tag.Get("json")
}

// keyOf returns the encoded key of a field. It knows no option but keyasint.
func keyOf(fieldName, tag string) (key string, ok bool) {
	name, options, _ := strings.Cut(tag, ",")
	if name == "" {
		name = fieldName
	}
	switch options {
	case "":
		return string(append(appendHead(nil, majorText, uint64(len(name))), name...)), utf8.ValidString(name)
	case "keyasint":
		n, err := strconv.Atoi(name)
		return string(appendInt(nil, int64(n))), err == nil
	default:
		return "", false
	}
}

func shapeOf(t reflect.Type) shape {
	if encodesItself(t) {
		return 0
	}
	switch t.Kind() { //nolint:exhaustive // the library does all other kinds
	case reflect.String:
		return shapeText
	case reflect.Slice:
		if t.Elem() == reflect.TypeFor[byte]() {
			return shapeBytes
		}
		return 0
	case reflect.Bool:
		return shapeBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return shapeInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return shapeUint
	case reflect.Float32, reflect.Float64:
		return shapeFloat
	default:
		return 0
	}
}

// encodesItself reports whether t has a method that the library would call, in
// either direction.
func encodesItself(t reflect.Type) bool {
	return marshals(t) || implements(t, reflect.TypeFor[cbor.Unmarshaler](),
		reflect.TypeFor[encoding.BinaryUnmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]())
}

// marshals reports whether t has a method that the library would call to encode
// it.
func marshals(t reflect.Type) bool {
	return implements(t, reflect.TypeFor[cbor.Marshaler](),
		reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.TextMarshaler]())
}

func implements(t reflect.Type, one ...reflect.Type) bool {
	return slices.ContainsFunc(one, reflect.PointerTo(t).Implements)
}
