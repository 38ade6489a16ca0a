package pubsub

import (
	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// OneOf listens to one publisher at a time, for a feed whose messages several publishers
// send alike. When that publisher is lost or drains, the subscription switches to another.
// Publishers number the messages of the feed with [FeedSeq]; the next publisher then goes on
// after the last message that was read, without a hole or a repetition as far as its log
// reaches back. For a feed without numbers, a gap with the reason "switched" reports that
// messages may be missing.
//
// All messages of a feed must have the same priority. OneOf requires the class BestEffort
// or Reliable, because acks belong to one publisher, and excludes [Group].
func OneOf() SubscribeOption { return subscribeOption(func(s *settings) { s.anyOne = true }) }

// FeedSeq numbers a message of a feed that several publishers send, for [OneOf]. Every
// publisher must give a message the same number, and the numbers must increase.
func FeedSeq(n uint64) PublishOption { return publishOption(func(p *post) { p.message.Feed = n }) }

func (s *settings) checkAnyOne() error {
	if c := Class(s.ask.Class); s.anyOne && (s.ask.Group != "" || c != BestEffort && c != Reliable) {
		return link.Errorf(link.InvalidArgument, "OneOf: the class is %s and the group %q; OneOf is for BestEffort and Reliable without a group", c, s.ask.Group)
	}
	return nil
}

// takeTurn waits until no other publisher is listened to. It returns false if the
// subscription ends or the publisher leaves first.
func (b *inbox) takeTurn(m *member) bool {
	if b.turn == nil {
		return b.ctx.Err() == nil
	}
	select {
	case b.turn <- struct{}{}:
		return true
	default:
	}
	// Subscribe does not wait for a publisher that stands by.
	m.settle()
	for {
		select {
		case b.turn <- struct{}{}:
			if m.Vanished() {
				b.giveTurn()
				return false
			}
			return true
		case b.others <- struct{}{}:
			// The stream of the member with the turn has ended, and it waited only for room.
		case <-b.ctx.Done():
			return false
		}
	}
}

func (b *inbox) giveTurn() {
	if b.turn != nil {
		<-b.turn
	}
}

// switchTo lets a subscription go on where it was at another publisher of its feed. It
// reports whether it is unknown what was missed in between.
func (b *inbox) switchTo(m *member, ask *subscribe) (switched bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.turn == nil, b.holder == "", b.holder == m.ID:
		return false
	case b.feed > 0:
		ask.Start, ask.Seq = startFeed, b.feed
		return false
	default:
		ask.Start = startNew
		return true
	}
}

// follows reports whether a record is new in its feed, and notes its number. After a
// switch the new publisher may repeat records.
func (b *inbox) follows(rec *journal.Record) bool {
	if b.turn == nil || rec.Kind != journal.KindMessage || rec.Feed == 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if rec.Feed <= b.feed {
		return false
	}
	b.feed = rec.Feed
	return true
}

// held notes which publisher is listened to. If messages may have been missed in a switch,
// it queues a gap ahead of the publisher's records.
func (b *inbox) held(c *conn, switched bool) {
	b.mu.Lock()
	b.holder = c.member.ID
	b.mu.Unlock()
	if switched {
		b.tell(c, "switched")
	}
}
