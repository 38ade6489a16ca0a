package pubsub

import (
	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// AnyOne listens to one publisher at a time, for a feed that several publish, each the
// same messages: to another when it is lost or drains. Publishers number the messages
// of the feed with [Feed]; then the next one goes on after the last message that was
// read, without a hole or a repetition as far as its log reaches back. For a feed
// without numbers a gap with the reason "switched" says that some may be missing.
//
// Messages of a feed have one priority. AnyOne is for BestEffort and Reliable, and not
// for groups: acks belong to one publisher.
func AnyOne() SubscribeOption { return subscribeOption(func(s *settings) { s.anyOne = true }) }

// Feed numbers a message of a feed that several publishers send, for [AnyOne]. Numbers
// are the feed's own, the same at every publisher, and grow.
func Feed(n uint64) PublishOption { return publishOption(func(m *journal.Message) { m.Feed = n }) }

func (s *settings) checkAnyOne() error {
	if c := Class(s.ask.Class); s.anyOne && (s.ask.Group != "" || c != BestEffort && c != Reliable) {
		return link.Errorf(link.InvalidArgument, "AnyOne: the class is %s and the group %q; AnyOne is for BestEffort and Reliable without a group", c, s.ask.Group)
	}
	return nil
}

// takeTurn waits until no other publisher is listened to.
func (b *inbox) takeTurn(m *member) bool {
	if b.turn == nil {
		return b.ctx.Err() == nil
	}
	select {
	case b.turn <- struct{}{}:
		return true
	default:
	}
	m.settle() // it stands by
	for {
		select {
		case b.turn <- struct{}{}:
			if m.leaving.Load() {
				b.giveTurn()
				return false
			}
			return true
		case b.others <- struct{}{}: // who holds the turn waits for nothing but room
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

// switchTo makes a subscription to another publisher of a feed go on where it was. It
// reports whether nobody knows what is missed.
func (b *inbox) switchTo(m *member, ask *subscribe) (switched bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.turn == nil, b.holder == "", b.holder == m.id:
		return false
	case b.feed > 0:
		ask.Start, ask.Seq = startFeed, b.feed
		return false
	default:
		ask.Start = startNew
		return true
	}
}

// follows reports whether a record is the next of the feed: a publisher that was
// switched to may repeat some.
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

// held notes who is listened to, and puts the gap of a switch before what it says.
func (b *inbox) held(c *conn, switched bool) {
	b.mu.Lock()
	b.holder = c.member.id
	b.mu.Unlock()
	if switched {
		b.tell(c, "switched")
	}
}
