package pubsub

import (
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// Class is what a subscription is promised. A class is an option of [Subscribe] and [SubscribeFunc]; without one, a
// subscription is [BestEffort].
type Class uint8

// The classes.
const (
	// BestEffort is the default: beyond its limits the oldest messages are dropped, and
	// reported as a gap.
	BestEffort = Class(journal.BestEffort)
	// Latest delivers the newest message of each topic and key.
	Latest = Class(journal.Latest)
	// Reliable delivers everything that its publisher keeps, 64 MiB and 5 minutes. To a
	// subscription that is further behind, a gap is reported.
	Reliable = Class(journal.Reliable)
	// AtLeastOnce delivers until a message is acked or has failed five times.
	AtLeastOnce = Class(journal.AtLeastOnce)
)

// String returns the name of the class, such as "best effort".
func (c Class) String() string { return journal.Class(c).String() }

// applySubscribe makes a class an option.
func (c Class) applySubscribe(s *settings) { s.ask.Class, s.classed = uint8(c), true }

// settings are the options of a subscription.
type settings struct {
	ask    frame.Subscribe
	calls  []link.CallOption
	anyOne bool
	// classed means that a class was given.
	classed     bool
	concurrency int
	onGap       func(publisher string, gap Gap)
	marks       map[string]journal.Position
	err         error // why an option is invalid
}

// settle chooses the class of a subscription that was given none.
func (s *settings) settle() {
	if !s.classed && s.ask.Block > 0 && s.ask.Messages == 0 {
		s.ask.Class = uint8(Reliable)
	}
}

// check returns an error if an option is invalid or does not go with the others.
func (s *settings) check() error {
	if s.err != nil {
		return s.err
	}
	if c := Class(s.ask.Class); s.ask.Durable && (c != AtLeastOnce || s.ask.Session == "") {
		return link.Errorf(link.InvalidArgument, "subscribe: Durable(%q) in the class %s; it needs a name, and the option pubsub.AtLeastOnce", s.ask.Session, c)
	}
	want, err := s.ask.Subscription()
	if err == nil {
		err = want.Validate()
	}
	if err != nil {
		return link.Errorf(link.InvalidArgument, "subscribe: %w", err)
	}
	if s.ask.Start == frame.StartLast && s.ask.Last < 1 {
		return link.Errorf(link.InvalidArgument, "subscribe: FromLast is %d, want 1 or more", s.ask.Last)
	}
	if c := Class(s.ask.Class); c != BestEffort && s.ask.Overflow != uint8(journal.DropOldest) {
		return link.Errorf(link.InvalidArgument, "subscribe: DropNewest is for the class best effort, and this is %s", c)
	}
	if s.concurrency < 0 || s.concurrency > maxConcurrency {
		return link.Errorf(link.InvalidArgument, "subscribe: Concurrency is %d, want 0 to %d", s.concurrency, maxConcurrency)
	}
	return s.checkAnyOne()
}

// SubscribeOption changes one subscription.
type SubscribeOption interface{ applySubscribe(s *settings) }

type subscribeOption func(s *settings)

func (f subscribeOption) applySubscribe(s *settings) { f(s) }

// Buffer bounds what may wait for the subscription at each publisher: messages,
// bytes, and for BestEffort their age. Zero is the default of the class: 1024
// messages, 8 MiB and 10 s for BestEffort; 65,536 keys for Latest; 1000 unacked messages
// and 8 MiB for AtLeastOnce, for which the maximum is 65,536 messages and 64 MiB.
func Buffer(messages, bytes int, age time.Duration) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Messages, s.ask.Bytes, s.ask.Age = messages, bytes, age.Microseconds() })
}

// DropNewest makes a subscription that is at its limits drop the newest messages instead of
// the oldest. It is for BestEffort only.
func DropNewest() SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Overflow = uint8(journal.DropNewest) })
}

// Keys restricts the subscription to messages with one of keys: at most 1024, of 255 bytes
// each and 128 KiB together.
func Keys(keys ...string) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Keys = append(s.ask.Keys, keys...) })
}

// Group makes the subscription a member of a group. Each message goes to one member, and
// messages with the same key go to the same member for as long as it is there. Group is for
// [BestEffort] and [AtLeastOnce]. With [Latest] or [Reliable] the subscription is refused
// with InvalidArgument, because these classes are promises to a single subscriber.
func Group(name string) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Group = name })
}

// GroupCredit sets how many unread messages this member of a group may have in flight. It is
// also the weight by which keys are divided among the members. Zero means 1024. It has no
// effect without [Group].
func GroupCredit(messages int) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Credit = messages })
}

// FromOldest starts with the oldest message that a publisher keeps.
func FromOldest() SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Start = frame.StartAll })
}

// FromLast starts with the last n messages that a publisher keeps.
func FromLast(n int) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Start, s.ask.Last = frame.StartLast, n })
}

// FromLastPerKey starts with the newest message of each topic and key.
func FromLastPerKey() SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Start = frame.StartLastPerKey })
}

// FromSeq starts with the message that has this number. Numbers count from 1 in each run of
// a publisher.
func FromSeq(seq uint64) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Start, s.ask.Seq = frame.StartSeq, seq })
}

// FromTime starts with the first message that was published at t or later, by the
// publisher's clock.
func FromTime(t time.Time) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Start, s.ask.Since = frame.StartTime, t.UnixMicro() })
}

// Backpressure lets publishers wait for this subscription when it is 8 MiB behind, at most this
// long for each message, and at most 10 s. It slows the publisher down so that the
// subscription loses nothing: use it where slow is better than incomplete. Unless a class or
// a limit of messages is given, too, the subscription is [Reliable] then. Publishers of other
// nodes must allow it with [AllowBackpressure], or they refuse the subscription.
func Backpressure(most time.Duration) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Block = most.Microseconds() })
}

// Lease sets how long a message of AtLeastOnce may be in flight before it is delivered
// again. It is extended for as long as the subscription has the message. Zero means 30 s.
func Lease(d time.Duration) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Lease = d.Microseconds() })
}

// Durable gives an AtLeastOnce subscription a name by which its publishers keep its place
// when it is closed or its process ends. The next subscription with the name goes on there:
// it gets the messages that were not acked, and those published since, as far back as
// publishers keep messages. What they no longer keep is reported as a gap.
//
// Each publisher keeps the place in memory, for an hour after the subscription was last
// connected, and loses it when it ends. A publisher that has run for less than an hour and does
// not know the name, whether or not an earlier run of it did, first reports a gap "restart" and
// begins with the oldest message that it keeps, unless the subscription says where to begin.
//
// The place belongs to the identity, topic, keys and group of the subscription. The same
// name of another identity is another place. Only one subscription can have the name at a
// time: another one waits at each publisher until the first is not connected there, and
// logs that it waits. [Subscription.Forget] gives the name up. A publisher has room for 1024
// names, and refuses more with ResourceExhausted: an identity may have as many as it leaves
// free, and up to 16 as long as any are free.
func Durable(name string) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Session, s.ask.Durable = name, true })
}

// RouteVia passes options to the calls that the subscription makes, such as link.OnTags and
// link.InZone, which select the publishers.
func RouteVia(opts ...link.CallOption) SubscribeOption {
	return subscribeOption(func(s *settings) { s.calls = append(s.calls, opts...) })
}
