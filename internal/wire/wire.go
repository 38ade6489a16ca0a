// Package wire encodes and decodes the bytes of link/1: varints, frames and
// frame bodies.
//
// # Overview
//
// A link connection carries QUIC streams. Each stream starts with a
// [StreamType], followed by frames: a [Kind], one byte of flags, a length and
// a body. The bodies of the core's frames are deterministic CBOR maps with
// integer keys (RFC 8949, section 4.2.1), except CREDIT, which is two varints.
// docs/wire.md is the normative description; the golden transcripts in
// testdata verify it.
//
// # Guarantees
//
// The package is pure: bytes in, values out, no I/O, standard library only.
// Parsers check every length against the input and against their limit before
// they allocate, never panic, and reject CBOR that is not deterministic: keys
// out of order or repeated, lengths in a longer form than needed, invalid UTF-8.
// Unknown integer keys in a map are skipped, so that fields can be added.
//
// # Concurrency
//
// All functions are safe for concurrent use; values are not. Views returned by
// parsers alias the input and are valid as long as the input is.
package wire

// Protocol is the ALPN identifier of this version of the wire (RFC 7301).
const Protocol = "link/1"

// StreamType is the varint at the start of a stream.
type StreamType uint64

// The stream types of link/1. A receiver that does not know a type stops reading
// that stream with [CodeIgnored]; the connection continues. See [IsGrease].
const (
	StreamControl StreamType = 0x00 // uni: one per side, SETUP first, never closed
	StreamOneWay  StreamType = 0x01 // uni: reserved for messages without a reply
	StreamLane    StreamType = 0x02 // uni: reserved for extra lanes of a subscription
	StreamCall    StreamType = 0x10 // bidi: one call or one stream of a pattern
	StreamCalls   StreamType = 0x11 // bidi: unary calls one after another
)

// Kind is the type of a frame.
type Kind uint64

// The frame kinds of link/1. Kinds from [KindPattern] up to and including
// [KindPatternMax] belong to the pattern that opened the stream. A receiver
// skips a kind it does not know unless [FlagCritical] is set.
const (
	KindHeaders   Kind = 0x01 // calls: opens a call; CBOR map, see [Headers]
	KindData      Kind = 0x02 // calls: one whole message in the call's codec
	KindStatus    Kind = 0x03 // calls: ends a call; CBOR map, see [Status]
	KindCredit    Kind = 0x04 // calls: messages:varint bytes:varint, see [Credit]
	KindHeartbeat Kind = 0x05 // calls: empty; reserved
	KindEnd       Kind = 0x06 // calls: empty; on pattern streams, the sender sends no more DATA or pattern frames
	KindSetup     Kind = 0x20 // control: first frame; CBOR map, see [Setup]
	KindGoAway    Kind = 0x21 // control: CBOR map, see [GoAway]
	KindHealth    Kind = 0x22 // control: CBOR map, see [Health]
	KindRoutes    Kind = 0x23 // control: CBOR map, see [Routes]
	KindAuth      Kind = 0x24 // control: reserved for tokens
	KindPing      Kind = 0x25 // control: token:varint; answered at once by PONG
	KindPong      Kind = 0x26 // control: token:varint
	KindTags      Kind = 0x27 // control: CBOR map, see [Tags]

	KindPattern    Kind = 0x40
	KindPatternMax Kind = 0x7f
)

// Flags is the second field of a frame header.
type Flags uint8

// The flags of a frame.
const (
	FlagCompressed Flags = 1 << 0 // reserved; a receiver refuses it
	FlagMore       Flags = 1 << 1 // reserved for fragments; a receiver refuses it
	FlagCritical   Flags = 1 << 2 // a receiver that does not know the kind fails the stream
	FlagCredited   Flags = 1 << 3 // the frame uses credit that its receiver granted
	FlagLast       Flags = 1 << 4 // on STATUS: the sender takes no further call on this stream
	FlagOdd        Flags = 1 << 5 // on STATUS: the answer to the second call on the stream, the fourth and so on
)

// Limits on what a parser accepts. Messages have their own limits, negotiated
// in SETUP.
const (
	MaxHeader       = 16 << 10 // bytes of a HEADERS or STATUS body
	MaxControl      = 64 << 10 // bytes of a frame body on CONTROL
	MaxPairs        = 64       // entries of a metadata map
	MaxPairBytes    = 8 << 10  // bytes of keys and values of a metadata map
	MaxTracePairs   = 16       // entries of a trace context map
	MaxName         = 255      // bytes of a route name
	MaxText         = 4 << 10  // bytes of a text for people, such as an error message
	MaxDetails      = 16       // details of a STATUS
	MaxTags         = 64       // tags of a SETUP
	MaxTag          = 128      // bytes of a tag
	MaxCodecs       = 16       // codecs of a SETUP
	MaxRoutes       = 1024     // routes of one ROUTES frame
	MaxKeyBytes     = 255      // bytes of an idempotency key
	maxNesting      = 4        // levels of an unknown value that is skipped
	maxSkipElements = 1024     // elements of an unknown value that is skipped
)

// firstGrease is 0x1f*4+0x21. The smaller values of this form are in use: 0x21
// by GOAWAY; 0x40, 0x5f and 0x7e by patterns.
const firstGrease = 0x9d

// IsGrease reports whether v is one of the values 0x1f*n+0x21, n ≥ 4. They are
// reserved as stream types and frame kinds without a meaning, to exercise the
// rule that receivers ignore unknown values (as in RFC 9114, section 7.2.8).
func IsGrease(v uint64) bool { return v >= firstGrease && (v-firstGrease)%0x1f == 0 }
