package codec

import (
	"errors"
	"fmt"
	"reflect"
)

// The library follows a value without end, until the stack of the process is full and it dies. So values of
// types that can hold themselves, and of no others, are walked through before they are encoded.

const (
	// maxValues is how many parts of a value are looked at: each makes at least one byte, and no message that
	// link carries has more.
	maxValues = 64 << 20
	// maxPointers is how many pointers may follow one another to one part.
	maxPointers = 64
	// maxTrace is how deep a value is followed to say how deep it is.
	maxTrace = 10_000
)

var (
	errTooDeep  = errors.New("nests too deep")
	errPointers = fmt.Errorf("%w: more than %d pointers lead to nothing but each other", ErrCycle, maxPointers)
)

func errBroken(t reflect.Type) error {
	return fmt.Errorf("%w: a pointer in type %v leads to nothing but pointers", ErrCycle, t)
}

// fits refuses a value that nests too deep, and one that holds itself.
func (c *cborCodec) fits(v any, k *compiled) error {
	if k.layout.broken {
		return errBroken(k.t)
	}
	if k.layout.levels <= c.limits.MaxNesting {
		return nil
	}
	w := walker{layouts: &c.plans.layouts, most: c.limits.MaxNesting, parts: c.parts, left: c.parts}
	err := w.walk(reflect.ValueOf(v), c.plans.layouts.of(k.t), 0)
	if err != errTooDeep { //nolint:errorlint // it is never wrapped
		return err
	}
	return c.tooDeep(v, k)
}

// tooDeep finds out whether a value that nests too deep holds itself.
func (c *cborCodec) tooDeep(v any, k *compiled) error {
	w := walker{layouts: &c.plans.layouts, most: maxTrace, parts: c.parts, left: c.parts, path: make(map[visit]struct{})}
	if err := w.walk(reflect.ValueOf(v), c.plans.layouts.of(k.t), 0); errors.Is(err, ErrCycle) {
		return err
	}
	return &LimitError{limitNesting, c.limits.MaxNesting, int64(w.deepest)}
}

// levelsOf returns how deep a body nests that is too deep, of the first part that is deepest.
func levelsOf(data []byte) (deepest int) {
	m := meter{data: data}
	var left []uint64 // items of the levels at hand
	for len(m.data) > 0 {
		major, n, ok := m.head()
		if !ok || major == majorTag {
			break
		}
		switch major {
		case majorText, majorBytes:
			m.data = m.data[min(n, uint64(len(m.data))):]
		case majorArray, majorMap:
			if n = min(n, uint64(len(m.data))); major == majorMap {
				n *= 2
			}
			left = append(left, n+1)
			deepest = max(deepest, len(left))
		}
		for len(left) > 0 {
			if left[len(left)-1]--; left[len(left)-1] > 0 {
				break
			}
			left = left[:len(left)-1]
		}
	}
	return deepest
}

// walker walks through a value as the library does when it encodes it.
type walker struct {
	layouts *layouts
	most    int // how many levels a value may have
	parts   int
	left    int // how many parts may still be looked at
	deepest int
	path    map[visit]struct{} // what the part at hand is in; nil: not looked at
}

// visit is a part of a value that others refer to.
type visit struct {
	at uintptr
	t  reflect.Type
}

// walk looks at v, which is within level arrays, maps and structs.
func (w *walker) walk(v reflect.Value, l *layout, level int) error {
	for hops := 0; ; hops++ {
		if l.opaque || l.levels <= w.most-level && w.path == nil {
			return nil
		}
		if w.left--; w.left < 0 {
			return fmt.Errorf("has more than %d parts, or the same ones again and again", w.parts)
		}
		if l.form != formPointer && l.form != formAny {
			break
		}
		if v.IsNil() {
			return nil
		}
		if hops == maxPointers {
			return errPointers
		}
		if v = v.Elem(); l.form == formPointer {
			l = l.elem
		} else if l = w.layouts.of(v.Type()); l.broken {
			return errBroken(v.Type())
		}
	}
	if l.form != formList && l.form != formMap && l.form != formStruct {
		return nil
	}
	if level++; level > w.most {
		return errTooDeep
	}
	w.deepest = max(w.deepest, level)
	if w.path == nil {
		return w.inside(v, l, level)
	}
	return w.traced(v, l, level)
}

// traced notes that v is on the path while its parts are looked at.
func (w *walker) traced(v reflect.Value, l *layout, level int) error {
	at := visit{t: v.Type()}
	switch {
	case l.form == formMap, l.form == formList && l.length < 0 && v.Len() > 0:
		at.at = v.Pointer()
	case l.form == formStruct && v.CanAddr():
		at.at = v.Addr().Pointer()
	default:
		return w.inside(v, l, level)
	}
	if _, again := w.path[at]; again {
		return fmt.Errorf("%w, as a part of type %v", ErrCycle, at.t)
	}
	w.path[at] = struct{}{}
	defer delete(w.path, at)
	return w.inside(v, l, level)
}

// inside looks at what v is made of.
func (w *walker) inside(v reflect.Value, l *layout, level int) error {
	switch l.form { //nolint:exhaustive // the others hold nothing
	case formList:
		for i := range v.Len() {
			if err := w.walk(v.Index(i), l.elem, level); err != nil {
				return err
			}
		}
	case formMap:
		return w.pairs(v, l, level)
	case formStruct:
		for i := range l.fields {
			f := &l.fields[i]
			if f.layout.opaque || f.layout.levels <= w.most-level && w.path == nil {
				continue
			}
			part, err := v.FieldByIndexErr(f.index)
			if err != nil {
				continue // an embedded struct on the way is nil
			}
			if err := w.walk(part, f.layout, level); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) pairs(v reflect.Value, l *layout, level int) error {
	if v.Len() == 0 {
		return nil
	}
	key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem() // not one for each pair
	for pairs := v.MapRange(); pairs.Next(); {
		key.SetIterKey(pairs)
		if err := w.walk(key, l.key, level); err != nil {
			return err
		}
		elem.SetIterValue(pairs)
		if err := w.walk(elem, l.elem, level); err != nil {
			return err
		}
	}
	return nil
}
