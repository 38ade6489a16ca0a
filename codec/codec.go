// Package codec encodes Go values as message bodies and decodes them.
//
// # Overview
//
// A [Codec] appends the encoding of a value to a buffer and decodes a buffer
// into a value. CBOR (RFC 8949) is the default and the only codec in this
// package; JSON, raw bytes and protobuf fit the same interface.
//
// # Usage
//
//	c := codec.CBOR()
//	body, err := c.Append(buf[:0], &order) // buf is reused: no allocation once it is large enough
//	...
//	var order Order
//	err = c.Decode(body, &order)           // body may be reused as soon as Decode returns
//
// Pass pointers to both. The conversion to any copies a struct that is passed
// to Append by value to the heap, but not a pointer.
//
// # CBOR
//
// Encoding is core deterministic (RFC 8949 section 4.2.1): the same value always
// gives the same bytes, so they can be signed, hashed and compared.
//
//   - struct: a map with the field names as keys, or integers where the field is
//     tagged `cbor:"1,keyasint"`; `json` tags apply where there is no `cbor` tag.
//   - struct{}, and any struct with no exported field: the empty map, one byte.
//   - nil, nil pointers, nil slices and nil maps: null, one byte. Null decodes
//     into a pointer, slice, map or any as nil and leaves every other
//     destination, including a struct, unchanged.
//   - time.Time: RFC 3339 text with nanoseconds and offset, as encoding/json
//     does. Monotonic readings and location names are not encoded.
//   - encoding.BinaryMarshaler, then encoding.TextMarshaler: byte string, text.
//   - an untyped destination (any) gets map[string]any, []any, string, []byte,
//     int64, float64, bool or nil. There, a time is decoded as text; an integer
//     beyond int64, or a map with keys other than text, is an error.
//   - big.Int and tags are errors on both sides.
//   - a value that contains itself, through pointers, maps, slices or interfaces,
//     has no encoding: the error of Append says that the value holds itself.
//
// Decoding is hardened. Bodies with duplicate keys, tags, indefinite lengths,
// invalid UTF-8, trailing bytes, or beyond the [Limits] are refused before or
// while reading. Field names match by exact case. A length that exceeds the
// body allocates nothing. Unknown fields are ignored, so that a newer peer may
// add fields.
//
// A body may hold as many elements as it has bytes. Their size in memory is
// estimated from the type of the destination before anything is decoded, and
// bounded by [Limits.MaxExpansion]: one byte, an empty map, becomes 48 bytes in
// a map and a whole struct in a list of structs. Append enforces the same
// bounds, so that a message that is too large for its receiver fails at its
// sender.
//
// # Cost
//
// With room in dst, Append of a pointer to a struct of plain fields allocates
// nothing. Decode allocates only what the destination's fields need: one
// allocation per non-empty string, byte slice, slice, map and pointer. Tests
// verify both.
//
// If a body may be too large in memory, judging by its length and its type, the
// heads of its items are read an additional time. A value of a type that may
// contain itself, through its own type or an interface, is walked before it is
// encoded. Other values and bodies have neither cost.
//
// The cheapest message is a pointer to a struct of at most 16 fields. Each field
// is a string, []byte, bool, integer or float, or a type based on one of these
// without methods that encode it, and has no options such as omitempty. Such a
// struct is encoded, and decoded from what Append wrote, about two to four times
// as fast as others. With two strings, an integer and a bool it takes about
// 0.04 µs to encode and 0.09 µs to decode (Xeon, Go 1.26; go test -bench Plan
// ./codec). What is accepted, and what it means, is the same for all types.
//
// # Concurrency
//
// Codecs are safe for concurrent use.
//
// # Errors
//
// Append and Decode return *[Error], in which errors.As finds a *[LimitError] if a
// limit is exceeded; constructors return [ErrLimits].
//
// # Testing
//
// Package codectest checks the contract that every codec must satisfy.
package codec

// Codec is one body format. Implementations are safe for concurrent use, and
// pass codectest.Run.
type Codec interface {
	// Name returns the short lower-case name, such as "cbor".
	Name() string

	// ID returns the number of the codec on the wire, such as [IDCBOR].
	ID() uint8

	// Append appends the encoding of v to dst and returns the extended buffer,
	// which shares dst's storage if its capacity was enough. The contents of dst
	// stay in front. v is not retained. On error it returns dst unchanged; the
	// storage beyond len(dst) may have been overwritten.
	Append(dst []byte, v any) ([]byte, error)

	// Decode decodes data, which holds exactly one value, into the value that the
	// non-nil pointer v points to. It does not retain data, so the caller may
	// reuse it. On error the value may be partly written and must be discarded.
	Decode(data []byte, v any) error
}

// Codec numbers on the wire. Numbers are only added, never changed.
const (
	IDCBOR     uint8 = 0
	IDJSON     uint8 = 1
	IDRaw      uint8 = 2
	IDProtobuf uint8 = 3
)
