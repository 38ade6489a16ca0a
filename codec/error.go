package codec

import (
	"reflect"
	"strings"
)

const (
	opEncode = "encode"
	opDecode = "decode"
)

// Error means that a value could not be encoded or a body could not be decoded.
// Its text names types and limits, and contains no more of the body than the
// codec's own error does.
type Error struct {
	// Codec is the name of the codec, such as "cbor".
	Codec string
	// Op is "encode" or "decode".
	Op string
	// Type is the type of the value given to Append or Decode; nil for an
	// untyped nil.
	Type reflect.Type
	// Err is the cause.
	Err error
}

// Error returns a text such as "codec cbor: decode *orders.Order: unexpected EOF".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("codec ")
	b.WriteString(e.Codec)
	b.WriteString(": ")
	b.WriteString(e.Op)
	if e.Type != nil {
		b.WriteByte(' ')
		b.WriteString(e.Type.String())
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(strings.TrimPrefix(e.Err.Error(), e.Codec+": "))
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }
