package pubsub

import (
	"slices"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// subscribe is the first frame of a subscription. Its keys are never renumbered.
type subscribe struct {
	Patterns []string `cbor:"1,keyasint"`
	Keys     []string `cbor:"2,keyasint,omitempty"`
	Class    uint8    `cbor:"3,keyasint,omitempty"`
	Overflow uint8    `cbor:"4,keyasint,omitempty"`
	Start    uint8    `cbor:"5,keyasint,omitempty"` // see startKind
	Last     int      `cbor:"6,keyasint,omitempty"`
	Since    int64    `cbor:"7,keyasint,omitempty"` // microseconds since 1970
	Position []byte   `cbor:"8,keyasint,omitempty"`
	Group    string   `cbor:"9,keyasint,omitempty"`
	Session  string   `cbor:"10,keyasint,omitempty"`
	Messages int      `cbor:"11,keyasint,omitempty"` // limits; 0 is the default of the class
	Bytes    int      `cbor:"12,keyasint,omitempty"`
	Age      int64    `cbor:"13,keyasint,omitempty"` // microseconds
	Lease    int64    `cbor:"14,keyasint,omitempty"` // microseconds
	Block    int64    `cbor:"15,keyasint,omitempty"` // microseconds that publishers wait for it
	Seq      uint64   `cbor:"16,keyasint,omitempty"` // the number to start with, or that of the feed to start after
	Credit   int      `cbor:"17,keyasint,omitempty"` // messages that a member of a group is trusted with
	Again    []uint64 `cbor:"18,keyasint,omitempty"` // for a position, with acks: first and last of ranges before it that are to come again
	Told     uint64   `cbor:"19,keyasint,omitempty"` // for a session: gaps that were received in it
	Durable  bool     `cbor:"20,keyasint,omitempty"` // for a session: it stays when its subscriber ends, for DurableKept
	Holder   string   `cbor:"21,keyasint,omitempty"` // for a durable session: the subscription that has it
	Young    bool     `cbor:"22,keyasint,omitempty"` // for a durable session: the subscription began less than DurableKept ago, so that an earlier one may have had the name
}

// maxSubscribe is the longest SUBSCRIBE, in bytes: 64 patterns and 1024 keys of the longest,
// 4096 ranges that are to come again, and the other fields. It is all that a peer which
// may not subscribe can make a publisher look at.
const maxSubscribe = 240 << 10

// wish is the part of a SUBSCRIBE by which it is decided whether a peer may subscribe; the
// rest is not decoded before. Of the patterns beyond those that are allowed nothing is kept.
type wish struct {
	Patterns [journal.MaxPatterns + 1]string `cbor:"1,keyasint"`
	Group    string                          `cbor:"9,keyasint,omitempty"`
	Block    int64                           `cbor:"15,keyasint,omitempty"`
}

// parseWish reads what a SUBSCRIBE asks for, and nothing else of it.
func parseWish(f link.Frame) (*subscribe, error) {
	if len(f.Body) > maxSubscribe {
		return nil, link.Errorf(link.ResourceExhausted, "a SUBSCRIBE of %d bytes, the limit is %d", len(f.Body), maxSubscribe)
	}
	w := new(wish)
	if err := parse(f, kindSubscribe, w); err != nil {
		return nil, err
	}
	n := len(w.Patterns)
	for n > 0 && w.Patterns[n-1] == "" {
		n--
	}
	if n > journal.MaxPatterns {
		return nil, link.Errorf(link.InvalidArgument, "a SUBSCRIBE with more than %d patterns", journal.MaxPatterns)
	}
	return &subscribe{Patterns: w.Patterns[:n], Group: w.Group, Block: w.Block}, nil
}

// parseSubscribe reads the whole of it, once the peer may have what wish is of it.
func parseSubscribe(f link.Frame, wish *subscribe) (*subscribe, error) {
	ask := new(subscribe)
	if err := parse(f, kindSubscribe, ask); err != nil {
		return nil, err
	}
	if !slices.Equal(ask.Patterns, wish.Patterns) || ask.Group != wish.Group {
		return nil, link.Errorf(link.InvalidArgument, "a SUBSCRIBE with an empty pattern")
	}
	ask.Block = wish.Block // as far as it may
	return ask, nil
}

// subscribed answers it.
type subscribed struct {
	Epoch   uint64 `cbor:"1,keyasint"`
	Live    uint64 `cbor:"2,keyasint,omitempty"` // messages before this number are replayed
	Resumed bool   `cbor:"3,keyasint,omitempty"` // the session was still there
	Codec   uint8  `cbor:"4,keyasint,omitempty"` // the codec of payloads
	Anew    bool   `cbor:"5,keyasint,omitempty"` // the publisher does not know the durable name, and an earlier run of it may have
}

// How a subscription starts.
const (
	startNew uint8 = iota
	startAll
	startLast
	startLastPerKey
	startAt
	startTime
	startSeq
	startFeed
)

func (s *subscribe) start() (journal.Start, error) {
	switch s.Start {
	case startNew:
		return journal.StartNew(), nil
	case startAll:
		return journal.StartAll(), nil
	case startLast:
		return journal.StartLast(s.Last), nil
	case startLastPerKey:
		return journal.StartLastPerKey(), nil
	case startAt:
		p, rest, err := journal.ParsePosition(s.Position)
		if err != nil || len(rest) > 0 {
			return journal.Start{}, link.Errorf(link.InvalidArgument, "subscribe: the position to resume at is malformed")
		}
		return journal.StartAt(p), nil
	case startTime:
		return journal.StartTime(time.UnixMicro(s.Since)), nil
	case startSeq:
		return journal.StartSeq(s.Seq), nil
	case startFeed:
		return journal.StartFeed(s.Seq), nil
	default:
		return journal.Start{}, link.Errorf(link.InvalidArgument, "subscribe: start %d is unknown", s.Start)
	}
}

// kept is how long the session stays; 0 is the default.
func (s *subscribe) kept() time.Duration {
	if s.Durable {
		return DurableKept
	}
	return 0
}

// ranges are pairs of numbers.
func ranges(list []uint64) (out []journal.Range, err error) {
	if len(list)%2 != 0 {
		return nil, link.Errorf(link.InvalidArgument, "subscribe: half a range of what is to come again")
	}
	for i := 0; i < len(list); i += 2 {
		out = append(out, journal.Range{From: list[i], To: list[i+1]})
	}
	return out, nil
}

func (s *subscribe) subscription() (journal.Subscription, error) {
	for _, path := range s.Patterns {
		if _, name := realmOf(path); subject.ValidPattern(name) != nil {
			return journal.Subscription{}, link.Errorf(link.InvalidArgument, "subscribe: %w", subject.ValidPattern(name))
		}
	}
	start, err := s.start()
	if err != nil {
		return journal.Subscription{}, err
	}
	again, err := ranges(s.Again)
	return journal.Subscription{
		Patterns: s.Patterns, Keys: s.Keys,
		Class: journal.Class(s.Class), Overflow: journal.Overflow(s.Overflow),
		Limits: journal.Limits{Messages: s.Messages, Bytes: s.Bytes, Age: time.Duration(s.Age) * time.Microsecond},
		Start:  start, Again: again, Group: s.Group, Credit: s.Credit, ID: s.Session, Lease: time.Duration(s.Lease) * time.Microsecond,
		Holder: s.Holder, Kept: s.kept(),
	}, err
}

// control is the codec of frames that are not messages.
var control = codec.CBOR() //nolint:gochecknoglobals // immutable; it keeps what it learns of types

// frame encodes v, one of the types above.
func frame(kind link.FrameKind, v any) (link.Frame, error) {
	body, err := control.Append(nil, v)
	if err != nil {
		return link.Frame{}, link.Errorf(link.Internal, "%w", err)
	}
	return link.Frame{Kind: kind, Body: body}, nil
}

// parse decodes the body of a frame that must be of kind.
func parse(f link.Frame, kind link.FrameKind, v any) error {
	if f.Kind != kind {
		return link.Errorf(link.InvalidArgument, "frame of kind %#x, want %#x", uint8(f.Kind), uint8(kind))
	}
	if err := control.Decode(f.Body, v); err != nil {
		return link.Errorf(link.InvalidArgument, "frame of kind %#x: %w", uint8(f.Kind), err)
	}
	return nil
}
