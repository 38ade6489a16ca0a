package pubsub

import (
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// Class is what a subscription is promised.
type Class uint8

// The classes.
const (
	// BestEffort is the default: at its limits the oldest messages are dropped, and
	// told as a gap.
	BestEffort = Class(journal.BestEffort)
	// Latest delivers the newest message of each topic and key.
	Latest = Class(journal.Latest)
	// Reliable delivers all that its publisher keeps, 64 MiB and 5 minutes; one that
	// is further behind is told of a gap.
	Reliable = Class(journal.Reliable)
	// AtLeastOnce delivers until a message is acked or has failed five times.
	AtLeastOnce = Class(journal.AtLeastOnce)
)

// String returns the class in words.
func (c Class) String() string { return journal.Class(c).String() }

// settings is what the options of a subscription say.
type settings struct {
	ask     subscribe
	calls   []link.CallOption
	anyOne  bool
	workers int
	onGap   func(publisher string, gap Gap)
	marks   bookmarks
	err     error // what is wrong with an option
}

// check says what of the options cannot be, or not together.
func (s *settings) check() error {
	if s.err != nil {
		return s.err
	}
	if c := Class(s.ask.Class); s.ask.Durable && (c != AtLeastOnce || s.ask.Session == "") {
		return link.Errorf(link.InvalidArgument, "subscribe: Durable(%q) in the class %s; it needs a name, and In(pubsub.AtLeastOnce)", s.ask.Session, c)
	}
	want, err := s.ask.subscription()
	if err == nil {
		err = want.Validate()
	}
	if err != nil {
		return link.Errorf(link.InvalidArgument, "subscribe: %w", err)
	}
	if s.ask.Start == startLast && s.ask.Last < 1 {
		return link.Errorf(link.InvalidArgument, "subscribe: FromLast is %d, want 1 or more", s.ask.Last)
	}
	if c := Class(s.ask.Class); c != BestEffort && s.ask.Overflow != uint8(journal.DropOldest) {
		return link.Errorf(link.InvalidArgument, "subscribe: DropNewest is for the class best effort, and this is %s", c)
	}
	if s.workers < 0 || s.workers > MaxWorkers {
		return link.Errorf(link.InvalidArgument, "subscribe: Workers is %d, want 1 to pubsub.MaxWorkers, %d", s.workers, MaxWorkers)
	}
	return s.checkAnyOne()
}

// SubscribeOption changes one subscription.
type SubscribeOption interface{ applySubscribe(s *settings) }

type subscribeOption func(s *settings)

func (f subscribeOption) applySubscribe(s *settings) { f(s) }

// In chooses the class.
func In(c Class) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Class = uint8(c) })
}

// Limits bounds what may wait for the subscription at each publisher: messages,
// bytes, and for BestEffort their age. Zero is the default of the class: 1024
// messages, 8 MiB and 10 s for BestEffort, 65,536 keys for Latest, 1000 messages
// and 8 MiB that are not acked for AtLeastOnce, which may have 65,536 and 64 MiB at most.
func Limits(messages, bytes int, age time.Duration) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Messages, s.ask.Bytes, s.ask.Age = messages, bytes, age.Microseconds() })
}

// DropNewest lets a subscription that is at its limits miss the newest messages, in place
// of the oldest. It is for BestEffort.
func DropNewest() SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Overflow = uint8(journal.DropNewest) })
}

// Keys lets only messages with one of keys through.
func Keys(keys ...string) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Keys = append(s.ask.Keys, keys...) })
}

// Group makes the subscription a member of a group: each message goes to one
// member, those of one key to the same one for as long as it is there. It is for
// [BestEffort] and [AtLeastOnce]; with [Latest] or [Reliable] the subscription is refused
// with InvalidArgument, for what these promise is to one subscriber.
func Group(name string) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Group = name })
}

// Credit is how many messages may be on their way to this member of a group that it has
// not read; it also weighs the members' parts of keys. Zero is 1024. It has no effect
// without [Group].
func Credit(messages int) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Credit = messages })
}

// FromOldest starts with the oldest message that a publisher keeps.
func FromOldest() SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Start = startAll })
}

// FromLast starts with the last n messages that a publisher keeps.
func FromLast(n int) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Start, s.ask.Last = startLast, n })
}

// FromLastPerKey starts with the newest message of each topic and key.
func FromLastPerKey() SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Start = startLastPerKey })
}

// FromSeq starts with the message that a publisher has given this number, which counts
// from 1 in each run of a publisher.
func FromSeq(seq uint64) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Start, s.ask.Seq = startSeq, seq })
}

// FromTime starts with the first message that was published at t or later, by the
// publisher's clock.
func FromTime(t time.Time) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Start, s.ask.Since = startTime, t.UnixMicro() })
}

// Block lets publishers wait for this subscription, each message at most for max
// ([MaxBlock] at the most), when it is 8 MiB behind. It trades the publisher's pace
// for a subscription that loses nothing: give it to those you would rather have
// slow than incomplete. Publishers of other nodes must allow it with [AllowBlock], or they
// refuse the subscription.
func Block(most time.Duration) SubscribeOption {
	return subscribeOption(func(s *settings) {
		s.ask.Block = most.Microseconds()
		if s.ask.Class == uint8(BestEffort) && s.ask.Messages == 0 {
			s.ask.Class = uint8(Reliable)
		}
	})
}

// Lease is how long a message of AtLeastOnce may be under way before it is
// delivered again; it is extended for as long as the subscription has the message.
// Zero is 30 s.
func Lease(d time.Duration) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Lease = d.Microseconds() })
}

// Durable gives an AtLeastOnce subscription a name by which its publishers keep its place
// when it ends: when it is closed, and when its process ends in whatever way. The next
// subscription with the name goes on there: it gets what was not acked, and what was
// published since, as far back as publishers keep messages; what they do not keep any
// more is told as a gap. The place is kept for [DurableKept], in the memory of
// each publisher, and is lost with that: a publisher that has run for less than that time and
// does not know the name, whether or not an earlier run of it did, tells a gap "restart" first and
// begins with the oldest message that it keeps, unless the subscription says where to begin.
// It belongs to the identity that made it, with the
// same topic, keys and group: the same name of another identity is another place.
//
// One subscription has the name at a time; another one waits at each publisher until the
// first is not connected there, and logs that it waits. [Subscription.Forget] gives the name up.
func Durable(name string) SubscribeOption {
	return subscribeOption(func(s *settings) { s.ask.Session, s.ask.Durable = name, true })
}

// Via gives options to the calls that the subscription makes, such as link.OnTags
// and link.InZone, which choose the publishers.
func Via(opts ...link.CallOption) SubscribeOption {
	return subscribeOption(func(s *settings) { s.calls = append(s.calls, opts...) })
}
