package frame

import (
	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
)

// Hello is the first frame of a producer. Its keys are never renumbered.
type Hello struct {
	// Queue is the unique name of the queue, which never changes.
	Queue string `cbor:"1,keyasint"`
	// Fence is the base of the fences of tasks.
	Fence uint64   `cbor:"2,keyasint,omitempty"`
	Held  []uint64 `cbor:"3,keyasint,omitempty"`
	// First and Last are the numbers between which the worker is asked about tasks of an earlier run of
	// the queue. It is not asked if Last is 0.
	First uint64 `cbor:"4,keyasint,omitempty"`
	Last  uint64 `cbor:"5,keyasint,omitempty"`
}

// Welcome is the answer to Hello.
type Welcome struct {
	// Epoch changes when the worker forgets what it held.
	Epoch uint64 `cbor:"1,keyasint"`
	// Slots is how many tasks the worker runs at once.
	Slots   int      `cbor:"2,keyasint"`
	Unknown []uint64 `cbor:"3,keyasint,omitempty"`
	// Running lists the running tasks between First and Last: number and delivery of each, in turn.
	Running []uint64 `cbor:"4,keyasint,omitempty"`
}

// control is the codec of frames that are not records.
var control = codec.CBOR() //nolint:gochecknoglobals // immutable; it keeps what it learns of types

// Encode makes a frame of v, a Hello or a Welcome.
func Encode(kind uint8, v any) (link.Frame, error) {
	body, err := control.Append(nil, v)
	if err != nil {
		return link.Frame{}, link.Errorf(link.Internal, "%w", err)
	}
	return link.Frame{Kind: kind, Body: body}, nil
}

// Decode decodes a frame, which must be of kind, into v.
func Decode(f link.Frame, kind uint8, v any) error {
	if f.Kind != kind {
		return link.Errorf(link.InvalidArgument, "frame of kind %#x, want %#x", f.Kind, kind)
	}
	if err := control.Decode(f.Body, v); err != nil {
		return link.Errorf(link.InvalidArgument, "frame of kind %#x: %w", f.Kind, err)
	}
	return nil
}
