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

// maxPlanFields is the largest number of fields of a struct with a plan. The
// head of their map is one byte.
const maxPlanFields = 16

// plan encodes and decodes a struct of plain fields without the CBOR library. It
// is compiled once per type. It writes exactly what the library writes, and
// reads only bodies that it would write itself. The library handles all other
// bodies, and all errors.
type plan struct {
	head byte
	// fields is sorted by the encoded keys.
	fields []planField
	// room bounds the size of the encoding without the strings.
	room int
}

type planField struct {
	// key is the encoded key.
	key   string
	index int
	shape shape
}

// shape is how a field is encoded.
type shape uint8

const (
	shapeText shape = iota + 1
	shapeBytes
	shapeBool
	shapeInt
	shapeUint
	shapeFloat
)

// plans caches what one codec knows about types. It is bounded by the number of
// types in a program: bodies cannot add to it.
type plans struct {
	// byType maps each reflect.Type to its *compiled.
	byType sync.Map
	// recent is a cache in front of byType, indexed by the address of the type. A
	// lookup in byType costs more than running many of the plans.
	recent  [recentPlans]atomic.Pointer[compiled]
	layouts layouts
}

// recentPlans is the number of slots in plans.recent.
const recentPlans = 64

// compiled is what the codec knows about a type that was passed to it.
type compiled struct {
	t reflect.Type
	// plan is for the struct that t points to. It is nil if there is none.
	plan *plan
	// layout is the layout of t, or of what t points to.
	layout *layout
	// most is how many bytes of memory one byte of a body may become.
	most int64
}

// of returns the compiled type of v, which must not be an untyped nil.
func (p *plans) of(v any) *compiled {
	t := reflect.TypeOf(v)
	// The addresses of types are at least 64 bytes apart.
	slot := &p.recent[reflect.ValueOf(t).Pointer()>>6%recentPlans]
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

// compile returns the plan of t, or nil if only the library can handle t.
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
			// Promoted fields, and options of the struct such as toarray, are for the library.
			return nil
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
		// The library decides which of two fields with one key is encoded.
		if p.fields[i].key == p.fields[i-1].key {
			return nil
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

// keyOf returns the encoded key of a field. ok is false if the tag has options
// other than keyasint, or an invalid name.
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
