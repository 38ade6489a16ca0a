package receive

import (
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// takeTurn waits until no other publisher is listened to. It returns false if the
// subscription ends or the publisher leaves first.
func (b *Inbox) takeTurn(m *Member) bool {
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

func (b *Inbox) giveTurn() {
	if b.turn != nil {
		<-b.turn
	}
}

// switchTo lets a subscription go on where it was at another publisher of its feed. It
// reports whether it is unknown what was missed in between.
func (b *Inbox) switchTo(m *Member, ask *frame.Subscribe) (switched bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.turn == nil, b.holder == "", b.holder == m.ID:
		return false
	case b.feed > 0:
		ask.Start, ask.Seq = frame.StartFeed, b.feed
		return false
	default:
		ask.Start = frame.StartNew
		return true
	}
}

// follows reports whether a record is new in its feed, and notes its number. After a
// switch the new publisher may repeat records.
func (b *Inbox) follows(rec *journal.Record) bool {
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
func (b *Inbox) held(c *Conn, switched bool) {
	b.mu.Lock()
	b.holder = c.Member.ID
	b.mu.Unlock()
	if switched {
		b.tell(c, "switched")
	}
}
