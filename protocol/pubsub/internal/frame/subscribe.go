package frame

import (
	"slices"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// Subscribe is the first frame of a subscription. Its keys are never renumbered. Lease and Block
// are in microseconds. The fields of Begin and Limits are keys of the same map.
type Subscribe struct {
	Begin
	Limits

	Patterns []string `cbor:"1,keyasint"`
	Keys     []string `cbor:"2,keyasint,omitempty"`
	Class    uint8    `cbor:"3,keyasint,omitempty"`
	Overflow uint8    `cbor:"4,keyasint,omitempty"`
	Group    string   `cbor:"9,keyasint,omitempty"`
	Session  string   `cbor:"10,keyasint,omitempty"`
	Lease    int64    `cbor:"14,keyasint,omitempty"`
	// Block is how long publishers wait for the subscription, for each message.
	Block int64 `cbor:"15,keyasint,omitempty"`
	// Credit is how many messages a member of a group is trusted with.
	Credit int `cbor:"17,keyasint,omitempty"`
	// Told counts the gaps that were received in the session.
	Told uint64 `cbor:"19,keyasint,omitempty"`
	// Durable makes the session stay for DurableKept when its subscriber ends.
	Durable bool `cbor:"20,keyasint,omitempty"`
	// Holder identifies the subscription that has a durable session.
	Holder string `cbor:"21,keyasint,omitempty"`
	// Young is set if a durable subscription began less than DurableKept ago, so that an
	// earlier subscription may have had the name.
	Young bool `cbor:"22,keyasint,omitempty"`
}

// Begin says where a subscription begins.
type Begin struct {
	// Start is one of the constants from StartNew to StartFeed.
	Start uint8 `cbor:"5,keyasint,omitempty"`
	Last  int   `cbor:"6,keyasint,omitempty"`
	// Since is in microseconds since 1970.
	Since    int64  `cbor:"7,keyasint,omitempty"`
	Position []byte `cbor:"8,keyasint,omitempty"`
	// Seq is the number to start with, or the number in the feed to start after.
	Seq uint64 `cbor:"16,keyasint,omitempty"`
	// Again holds the first and last number of each range of messages before Position that
	// are to be delivered again. It is for AtLeastOnce.
	Again []uint64 `cbor:"18,keyasint,omitempty"`
}

// Limits bound what may wait for a subscription; 0 is the default of the class. Age is in
// microseconds.
type Limits struct {
	Messages int   `cbor:"11,keyasint,omitempty"`
	Bytes    int   `cbor:"12,keyasint,omitempty"`
	Age      int64 `cbor:"13,keyasint,omitempty"`
}

// MaxSubscribe bounds a SUBSCRIBE, in bytes: 64 patterns of maximum length, 1024 keys of
// 128 KiB, 4096 ranges of messages to deliver again, and the other fields. A peer that may not
// subscribe cannot make a publisher look at more than that.
const MaxSubscribe = 240 << 10

// wish is the part of a SUBSCRIBE that decides whether a peer may subscribe. The rest is
// decoded only afterwards. Patterns beyond the allowed number are not kept.
type wish struct {
	Patterns [journal.MaxPatterns + 1]string `cbor:"1,keyasint"`
	Group    string                          `cbor:"9,keyasint,omitempty"`
	Block    int64                           `cbor:"15,keyasint,omitempty"`
}

// ParseWish decodes the patterns, the group and the block of a SUBSCRIBE, which decide whether a
// peer may subscribe, and nothing else. The error is ResourceExhausted for a frame that is too
// long, and InvalidArgument for one that makes no sense.
func ParseWish(f link.Frame) (*Subscribe, error) {
	if len(f.Body) > MaxSubscribe {
		return nil, link.Errorf(link.ResourceExhausted, "a SUBSCRIBE of %d bytes, the limit is %d", len(f.Body), MaxSubscribe)
	}
	w := new(wish)
	if err := Decode(f, KindSubscribe, w); err != nil {
		return nil, err
	}
	n := len(w.Patterns)
	for n > 0 && w.Patterns[n-1] == "" {
		n--
	}
	if n > journal.MaxPatterns {
		return nil, link.Errorf(link.InvalidArgument, "a SUBSCRIBE with more than %d patterns", journal.MaxPatterns)
	}
	return &Subscribe{Patterns: w.Patterns[:n], Group: w.Group, Block: w.Block}, nil
}

// ParseSubscribe decodes the whole SUBSCRIBE, once it was decided that the peer may have wish,
// which is what [ParseWish] has returned.
func ParseSubscribe(f link.Frame, wish *Subscribe) (*Subscribe, error) {
	ask := new(Subscribe)
	if err := Decode(f, KindSubscribe, ask); err != nil {
		return nil, err
	}
	if !slices.Equal(ask.Patterns, wish.Patterns) || ask.Group != wish.Group {
		return nil, link.Errorf(link.InvalidArgument, "a SUBSCRIBE with an empty pattern")
	}
	// The time in wish was limited to what the peer may ask for.
	ask.Block = wish.Block
	return ask, nil
}

// Subscribed is the answer to a SUBSCRIBE.
type Subscribed struct {
	Epoch uint64 `cbor:"1,keyasint"`
	// Live is the number of the first message that is not replayed.
	Live uint64 `cbor:"2,keyasint,omitempty"`
	// Resumed is set if the session was still there.
	Resumed bool `cbor:"3,keyasint,omitempty"`
	// Codec is the ID of the codec of payloads.
	Codec uint8 `cbor:"4,keyasint,omitempty"`
	// Anew is set if the publisher does not know the durable name, and an earlier run of it
	// may have known it.
	Anew bool `cbor:"5,keyasint,omitempty"`
}

// Values of [Begin].Start, which say where a subscription starts. They are those of package
// journal, and are never renumbered.
const (
	StartNew uint8 = iota
	StartAll
	StartLast
	StartLastPerKey
	StartAt
	StartTime
	StartSeq
	StartFeed
)

func (b *Begin) start() (journal.Start, error) {
	switch b.Start {
	case StartNew:
		return journal.StartNew(), nil
	case StartAll:
		return journal.StartAll(), nil
	case StartLast:
		return journal.StartLast(b.Last), nil
	case StartLastPerKey:
		return journal.StartLastPerKey(), nil
	case StartAt:
		p, rest, err := journal.ParsePosition(b.Position)
		if err != nil || len(rest) > 0 {
			return journal.Start{}, link.Errorf(link.InvalidArgument, "subscribe: the position to resume at is malformed")
		}
		return journal.StartAt(p), nil
	case StartTime:
		return journal.StartTime(time.UnixMicro(b.Since)), nil
	case StartSeq:
		return journal.StartSeq(b.Seq), nil
	case StartFeed:
		return journal.StartFeed(b.Seq), nil
	default:
		return journal.Start{}, link.Errorf(link.InvalidArgument, "subscribe: start %d is unknown", b.Start)
	}
}

// kept returns how long the session stays without its subscriber; 0 is the default.
func (s *Subscribe) kept() time.Duration {
	if s.Durable {
		return DurableKept
	}
	return 0
}

// ranges converts a list of first and last numbers to ranges.
func ranges(list []uint64) (out []journal.Range, err error) {
	if len(list)%2 != 0 {
		return nil, link.Errorf(link.InvalidArgument, "subscribe: half a range of what is to come again")
	}
	for i := 0; i < len(list); i += 2 {
		out = append(out, journal.Range{From: list[i], To: list[i+1]})
	}
	return out, nil
}

// Subscription returns what the log has to know of the subscription. The error is InvalidArgument
// for a pattern that is none, a start that is unknown, or a list that ends in the middle of a pair.
func (s *Subscribe) Subscription() (journal.Subscription, error) {
	for _, path := range s.Patterns {
		if _, name := subject.RealmOf(path); subject.ValidPattern(name) != nil {
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
