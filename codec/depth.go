package codec

import (
	"errors"
	"fmt"
	"reflect"
)

// The library follows a cyclic value until the stack overflows and the process dies. To prevent that, values
// of types that can contain themselves, and only those, are walked before they are encoded.

const (
	// maxValues bounds how many parts of a value are looked at. Each part is encoded as at least one byte, and
	// no message that link carries has more bytes.
	maxValues = 64 << 20
	// maxPointers bounds how many pointers may lead to one part.
	maxPointers = 64
	// maxTrace is how deep a value is followed to report its depth.
	maxTrace = 10_000
)

var (
	errTooDeep  = errors.New("nests too deep")
	errPointers = fmt.Errorf("%w: more than %d pointers lead to nothing but each other", errCycle, maxPointers)
)

func errBroken(t reflect.Type) error {
	return fmt.Errorf("%w: a pointer in type %v leads to nothing but pointers", errCycle, t)
}

// fits returns an error for a value that nests too deep, and for a value that contains itself.
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

// tooDeep returns the error for a value that nests too deep: [errCycle] if it contains itself, otherwise a
// [*LimitError].
func (c *cborCodec) tooDeep(v any, k *compiled) error {
	w := walker{layouts: &c.plans.layouts, most: maxTrace, parts: c.parts, left: c.parts, path: make(map[visit]struct{})}
	if err := w.walk(reflect.ValueOf(v), c.plans.layouts.of(k.t), 0); errors.Is(err, errCycle) {
		return err
	}
	return &LimitError{limitNesting, c.limits.MaxNesting, int64(w.deepest)}
}

// levelsOf returns how many levels deep a body nests, up to the first head that is malformed or a tag.
func levelsOf(data []byte) (deepest int) {
	m := meter{data: data}
	// left counts the items that remain on each level.
	var left []uint64
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

// walker walks a value as the library does when it encodes it.
type walker struct {
	layouts *layouts
	// most is how many levels a value may have.
	most int
	// parts is how many parts may be looked at in total, left how many remain.
	parts   int
	left    int
	deepest int
	// path holds the parts that contain the current one. If it is nil, cycles are not detected.
	path map[visit]struct{}
}

// visit identifies a part of a value that other parts may refer to.
type visit struct {
	at uintptr
	t  reflect.Type
}

// walk checks v, which is nested in level arrays, maps and structs.
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

// traced keeps v on the path while its parts are walked. It returns [errCycle] if v is on the path already.
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
		return fmt.Errorf("%w, as a part of type %v", errCycle, at.t)
	}
	w.path[at] = struct{}{}
	defer delete(w.path, at)
	return w.inside(v, l, level)
}

// inside walks the parts of v.
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
			// The error means that a pointer to an embedded struct is nil.
			part, err := v.FieldByIndexErr(f.index)
			if err != nil {
				continue
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
	// key and elem are reused for all pairs.
	key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
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
