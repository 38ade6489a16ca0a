// Package frame defines what publishers and subscribers say to each other: the control frames of
// a subscription's stream, and the limits that both sides go by. The records themselves are
// those of package journal. docs/wire.md has the layout of all of them.
//
// # Overview
//
// A subscriber opens a stream on the route of [Route] and sends a [Subscribe]. The publisher
// answers with a [Subscribed], and then sends frames of records; the subscriber sends a [Verdict]
// now and then. [Published] and [DeadLetter] go from publisher to subscriber.
//
// The two halves of package pubsub, serve and receive, know this package and not each other. A
// [Sink] is what takes the place of a stream between a publisher and a subscriber of one node.
//
// # Concurrency
//
// All functions are safe for concurrent use. The messages are plain values.
package frame

import (
	"context"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
)

// Kinds of the frames of a subscription's stream.
const (
	KindSubscribe  uint8 = 0x40
	KindSubscribed uint8 = 0x41
	KindRecords    uint8 = 0x42
	KindVerdict    uint8 = 0x43
	KindPart       uint8 = 0x44
	KindLast       uint8 = 0x45
	KindTopics     uint8 = 0x46
)

// Times that publishers and subscribers hold each other to.
const (
	// StuckTime is how long a subscriber may take nothing while messages wait for
	// it before its publisher ends the stream.
	StuckTime = 30 * time.Second
	// ElsewhereMost bounds how long a subscription is not stuck because it reports that it
	// reads messages of other publishers, which cannot be verified. It is as long as a log
	// keeps messages.
	ElsewhereMost = 10 * StuckTime
	// DurableKept is how long a publisher keeps the place of a durable subscription that is
	// not connected.
	DurableKept = time.Hour
)

// Route returns the route on which every subscription to a service is opened.
func Route(service string) link.Route {
	return link.Route{Service: service, Name: "_link/subscribe", Kind: link.KindTopic}
}

// Sink is where the records of a session go: a stream, or a subscriber of the publisher's node.
type Sink interface {
	// Send sends a frame of records. It does not keep body. It waits for the subscriber,
	// and calls moved when the subscriber has taken a part. If ctx ends while it waits, it
	// returns the cause, and the frame was not sent.
	Send(ctx context.Context, body []byte, moved func()) error
	// Note sends a mark, a frame that takes no credit and may be dropped.
	Note(body []byte) error
	// Last sends the gaps of messages that will not be delivered.
	Last(body []byte) error
	// Topics sends whether the node publishes what was asked for. It takes no credit.
	Topics(say *Published) error
	// Size returns how many bytes a frame should have.
	Size() int
	// Draining returns a channel that is closed when the publisher drains and nothing that
	// could publish runs there any more. It is nil for a subscriber of the publisher's node.
	Draining() <-chan struct{}
	// Ended returns a channel that is closed when the subscriber is gone.
	Ended() <-chan struct{}
}

// control is the codec of what is not a message of users.
var control = codec.CBOR() //nolint:gochecknoglobals // immutable; it keeps what it learns of types

// Marshal encodes v as the bodies of control frames are encoded.
func Marshal(v any) ([]byte, error) { return control.Append(nil, v) }

// Unmarshal decodes what [Marshal] has encoded.
func Unmarshal(b []byte, v any) error { return control.Decode(b, v) }

// Encode returns a control frame with the body v.
func Encode(kind uint8, v any) (link.Frame, error) {
	body, err := Marshal(v)
	if err != nil {
		return link.Frame{}, link.Errorf(link.Internal, "%w", err)
	}
	return link.Frame{Kind: kind, Body: body}, nil
}

// Decode decodes the body of a frame that must be of a kind. The error is InvalidArgument.
func Decode(f link.Frame, kind uint8, v any) error {
	if f.Kind != kind {
		return link.Errorf(link.InvalidArgument, "frame of kind %#x, want %#x", f.Kind, kind)
	}
	if err := Unmarshal(f.Body, v); err != nil {
		return link.Errorf(link.InvalidArgument, "frame of kind %#x: %w", f.Kind, err)
	}
	return nil
}
