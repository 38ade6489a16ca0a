package codec

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// field is a field of a struct as the CBOR library finds it.
type field struct {
	name string
	// number is set if the name is an integer key.
	number bool
	index  []int
	t      reflect.Type
	tagged bool
	// hidden is set if the field is not encoded because another field has the same name.
	hidden bool
}

// fields fills in which fields of a struct are encoded.
func (c *layoutCompiler) fields(t reflect.Type, l *layout) {
	list := fieldsOf(t)
	if options, ok := t.FieldByName("_"); ok {
		l.tuple = slices.Contains(strings.Split(options.Tag.Get("cbor"), ","), "toarray")
	}
	l.byName, l.byInt = make(map[string]int), make(map[int64]int)
	for _, f := range list {
		at := len(l.fields)
		if f.number {
			// The library refuses a type with a key that is not a number.
			n, err := strconv.ParseInt(f.name, 10, 64)
			if err != nil {
				continue
			}
			l.byInt[n] = at
		} else {
			l.byName[f.name] = at
		}
		l.fields = append(l.fields, element{index: f.index, layout: c.compile(f.t), through: through(t, f.index)})
	}
}

// through returns how many bytes are allocated for embedded structs behind pointers on the way to a field.
func through(t reflect.Type, index []int) (size int64) {
	for _, i := range index[:len(index)-1] {
		if t = t.Field(i).Type; t.Kind() == reflect.Pointer {
			t = t.Elem()
			size += rounded(uint64(t.Size()))
		}
	}
	return size
}

// fieldsOf returns the fields of a struct that are encoded, in the order of their indexes. The rules are those
// of the library and of encoding/json: the fields of an embedded struct without a name are promoted. Of several
// fields with the same name, the least nested one wins, then the one with a tag; if several are left, none of
// them is encoded.
func fieldsOf(t reflect.Type) []field {
	var list []field
	next := []field{{t: t}}
	seen := map[reflect.Type]bool{}
	for len(next) > 0 {
		current := next
		next = nil
		count := map[reflect.Type]int{}
		for _, e := range current {
			count[e.t]++
		}
		for _, e := range current {
			if count[e.t] > 1 || seen[e.t] {
				continue
			}
			seen[e.t] = true
			own, embedded := fieldsIn(e.t, e.index)
			list, next = append(list, own...), append(next, embedded...)
		}
	}
	hide(list)
	list = slices.DeleteFunc(list, func(f field) bool { return f.hidden })
	slices.SortFunc(list, func(a, b field) int { return slices.Compare(a.index, b.index) })
	return list
}

// fieldsIn returns the fields of one struct, and the embedded structs whose fields are promoted.
func fieldsIn(t reflect.Type, index []int) (own, embedded []field) {
	for i := range t.NumField() {
		f := t.Field(i)
		inner := f.Type
		for range maxPointers {
			if inner.Kind() != reflect.Pointer {
				break
			}
			inner = inner.Elem()
		}
		isStruct := f.Anonymous && inner.Kind() == reflect.Struct
		tag := tagOf(f)
		if !f.IsExported() && !isStruct || tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		at := append(slices.Clone(index), i)
		if isStruct && name == "" {
			embedded = append(embedded, field{t: inner, index: at})
			continue
		}
		out := field{name: name, index: at, t: f.Type, tagged: tag != "", number: slices.Contains(strings.Split(options, ","), "keyasint")}
		if name == "" {
			out.name = f.Name
		}
		// Different spellings of a number are the same key: 01 and +1 are 1.
		if n, err := strconv.Atoi(out.name); out.number && err == nil {
			out.name = strconv.Itoa(n)
		}
		own = append(own, out)
	}
	return own, embedded
}

// hide marks the fields that are not encoded because other fields have the same name.
func hide(list []field) {
	for i := range list {
		for j := range list {
			a, b := &list[i], &list[j]
			if i == j || a.name != b.name || a.number != b.number {
				continue
			}
			deeper := len(a.index) - len(b.index)
			if deeper > 0 || deeper == 0 && (b.tagged || !a.tagged) {
				a.hidden = true
			}
		}
	}
}
