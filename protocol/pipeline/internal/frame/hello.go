package frame

import (
	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
)

// Hello is the first frame of a producer. Its keys are never renumbered.
type Hello struct {
	Queue string   `cbor:"1,keyasint"`           // the same for as long as the queue is, unique
	Fence uint64   `cbor:"2,keyasint,omitempty"` // base of the fences of tasks
	Held  []uint64 `cbor:"3,keyasint,omitempty"`
	First uint64   `cbor:"4,keyasint,omitempty"` // what an earlier run of the queue gave the worker, from
	Last  uint64   `cbor:"5,keyasint,omitempty"` // to which number, it is asked about; 0 is nothing
}

// Welcome answers it.
type Welcome struct {
	Epoch   uint64   `cbor:"1,keyasint"` // changes when the worker forgets what it held
	Slots   int      `cbor:"2,keyasint"` // tasks that it runs at once
	Unknown []uint64 `cbor:"3,keyasint,omitempty"`
	Running []uint64 `cbor:"4,keyasint,omitempty"` // between First and Last: number and delivery of each, in turn
}

// control is the codec of frames that are not records.
var control = codec.CBOR() //nolint:gochecknoglobals // immutable; it keeps what it learns of types

// Encode makes a frame of v, one of the types above.
func Encode(kind link.FrameKind, v any) (link.Frame, error) {
	body, err := control.Append(nil, v)
	if err != nil {
		return link.Frame{}, link.Errorf(link.Internal, "%w", err)
	}
	return link.Frame{Kind: kind, Body: body}, nil
}

// Decode reads a frame that must be of kind.
func Decode(f link.Frame, kind link.FrameKind, v any) error {
	if f.Kind != kind {
		return link.Errorf(link.InvalidArgument, "frame of kind %#x, want %#x", uint8(f.Kind), uint8(kind))
	}
	if err := control.Decode(f.Body, v); err != nil {
		return link.Errorf(link.InvalidArgument, "frame of kind %#x: %w", uint8(f.Kind), err)
	}
	return nil
}
