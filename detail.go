package link

import (
	"errors"
	"reflect"
	"slices"

	"github.com/linkmesh/link/codec"
)

// Detail is a typed part of an [Error]. It crosses the wire as CBOR under the
// name of its type.
type Detail struct {
	// Type is the type's package and name, "shop.QuotaExceeded".
	Type string
	// Data is the value encoded as CBOR.
	Data []byte
}

// detailCodec encodes details, whatever codec the node uses.
var detailCodec = codec.CBOR() //nolint:gochecknoglobals // immutable; it keeps what it learns of types

// WithDetails returns err, which must hold an [*Error] or a [Code], with
// details that the peer can read with [DetailOf] and, if their types implement
// error, with errors.As. If a detail has no CBOR encoding, it returns err joined
// with an error that says so.
func WithDetails(err error, details ...any) error {
	e := failed("", err)
	if inner, ok := errors.AsType[*Error](err); ok && inner != nil {
		e.Details = slices.Clone(inner.Details)
	}
	for _, d := range details {
		data, cerr := detailCodec.Append(nil, d)
		if cerr != nil {
			return errors.Join(err, cerr)
		}
		e.Details = append(e.Details, Detail{Type: detailName(reflect.TypeOf(d)), Data: data})
	}
	return e
}

// DetailOf returns the first detail of type T in err.
func DetailOf[T any](err error) (T, bool) {
	var v T
	var e *Error
	ok := errors.As(err, &e) && e != nil && e.detail(reflect.TypeFor[T](), &v)
	return v, ok
}

// As lets errors.As find a detail whose type implements error.
func (e *Error) As(target any) bool {
	if e == nil || len(e.Details) == 0 {
		return false
	}
	return e.detail(reflect.TypeOf(target).Elem(), target)
}

// detail decodes the detail of type t into target, which points to a t. A pointer
// type travels under the name of the type that it points to.
func (e *Error) detail(t reflect.Type, target any) bool {
	name := detailName(t)
	for _, d := range e.Details {
		if d.Type == name {
			return detailCodec.Decode(d.Data, target) == nil
		}
	}
	return false
}

func detailName(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "nil"
	}
	return t.String()
}
