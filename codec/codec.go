// Package codec turns Go values into message bodies and back.
//
// # Overview
//
// A [Codec] appends the encoding of a value to a buffer and decodes a buffer
// into a value. CBOR (RFC 8949) is the default and the one codec in this
// package; JSON, raw bytes and protobuf fill the same interface.
//
// # Usage
//
//	c := codec.CBOR()
//	body, err := c.Append(buf[:0], &order) // buf is reused: no allocation once it is large enough
//	...
//	var order Order
//	err = c.Decode(body, &order)           // body may be reused as soon as Decode returns
//
// Pass pointers to both. A struct passed by value to Append is copied to the
// heap by the conversion to any; a pointer is not.
//
// # CBOR
//
// Encoding is core deterministic (RFC 8949 section 4.2.1): the same value always
// gives the same bytes, so they can be signed, hashed and compared.
//
//   - struct: a map with the field names as keys, or integers where the field is
//     tagged `cbor:"1,keyasint"`; `json` tags serve where there is no `cbor` tag.
//   - struct{}, and any struct with no exported field: the empty map, one byte.
//   - nil, nil pointers, nil slices and nil maps: null, one byte. Null decodes
//     into a pointer, slice, map or any as nil and leaves every other
//     destination, a struct among them, as it was.
//   - time.Time: RFC 3339 text with nanoseconds and offset, as encoding/json
//     does. Monotonic readings and location names do not travel.
//   - encoding.BinaryMarshaler, then encoding.TextMarshaler: byte string, text.
//   - an untyped destination (any) gets map[string]any, []any, string, []byte,
//     int64, float64, bool or nil. A time arrives there as text; an integer
//     beyond int64 or a map with other keys than text is an error there.
//   - big.Int and tags are errors on both sides.
//   - a value that holds itself has no encoding: Append returns [ErrCycle].
//
// Decoding is hardened. Bodies with duplicate keys, tags, indefinite lengths,
// invalid UTF-8, trailing bytes, or beyond the [Limits] are refused before or
// while reading, field names match by exact case, and a length header that
// promises more than the body holds costs nothing. Unknown fields are ignored,
// so that a newer peer may add fields.
//
// A body may hold as many elements as it has bytes. What they become in memory
// is estimated from the type of the destination before anything is decoded, and
// bounded by [Limits.MaxExpansion]: one byte, an empty map, makes 48 bytes in a
// map and a whole struct in a list of structs. Append holds to the same bounds,
// so that a message that is too much for its receiver fails at its sender.
//
// # Cost
//
// With room in dst, Append of a pointer to a struct of plain fields allocates
// nothing. Decode allocates what the destination's fields need and nothing else:
// one allocation per non-empty string, byte slice, slice, map and pointer. Tests
// hold both.
//
// Of a body that may be too large in memory, which its length and its type say,
// the heads of its items are read once more. A value of a type that may hold
// itself, through its own type or an interface, is walked through before it is
// encoded. Other values and bodies pay for neither.
//
// The cheapest message is a pointer to a struct of at most 16 fields, each a
// string, []byte, bool, integer or float, or a type made of one without methods
// that encode it, and without options such as omitempty: it is written, and read
// as Append wrote it, about two to four times as fast as others. With two
// strings, an integer and a bool it takes about 0.04 µs to encode and 0.09 µs to
// decode (Xeon, Go 1.26; go test -bench Plan ./codec). What is accepted and what
// it means is the same for all.
//
// # Concurrency
//
// Codecs are safe for concurrent use.
//
// # Errors
//
// Append and Decode return *[Error], in which errors.As finds a *[LimitError] and
// errors.Is finds [ErrCycle]; constructors return [ErrLimits].
//
// # Testing
//
// Package codectest is the contract every codec passes.
package codec

// Codec is one body format. Implementations are safe for concurrent use, and
// pass codectest.Run.
type Codec interface {
	// Name is the short lower-case name, as in "cbor".
	Name() string

	// ID is the number of the codec on the wire; see [IDCBOR] and its siblings.
	ID() uint8

	// Append appends the encoding of v to dst and returns the extended buffer,
	// which shares dst's storage if its capacity was enough. What dst held stays
	// in front. v is not kept. On error it returns dst as it was given, and the
	// storage beyond len(dst) may have been written.
	Append(dst []byte, v any) ([]byte, error)

	// Decode decodes data, which holds exactly one value, into what the non-nil
	// pointer v points to. Nothing in v refers to data afterwards: the caller
	// reuses data. On error what v points to is partly written: discard it.
	Decode(data []byte, v any) error
}

// Codec numbers on the wire. They are only ever added to.
const (
	IDCBOR     uint8 = 0
	IDJSON     uint8 = 1
	IDRaw      uint8 = 2
	IDProtobuf uint8 = 3
)
