package receive

import (
	"context"
	"sync"

	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// frames is one frame of records, or a gap in place of one, and where it came from.
type frames struct {
	conn *Conn
	body []byte
	owed int  // bytes of credit that are due for it
	kept bool // messages refer to the body
	gap  *Gap
	// gaps counts the gaps in the body, and read the messages of it that were read. Both are
	// for AtLeastOnce.
	gaps uint64
	read int
}

// intake is where one member's connection puts what it receives.
type intake struct {
	box    *Inbox
	member *Member
	ask    *frame.Subscribe
	// switched is set if OneOf came from another publisher and it is unknown what was missed.
	switched bool
}

// joined makes c the member's current connection.
func (i intake) joined(c *Conn, a *frame.Subscribed) *Conn {
	c.Member, c.reader, c.Live, c.shrunk = i.member, journal.NewReader(journal.ReaderLimits{}), a.Live, notify.NewFlag()
	i.member.joined(c, i.ask, a)
	i.box.hears(i.member)
	i.box.held(c, i.switched)
	return c
}

// put queues a frame, which then belongs to the subscription. It never waits: who calls it knows that
// there is room.
func (i intake) put(f *frames) {
	i.member.received(f)
	f.conn.pulse.arm()
	i.box.queue.push(f)
}

// note queues a frame with the publisher's position. If many frames wait, it drops the frame, because
// the next one has the position again.
func (i intake) note(f *frames) {
	if i.box.queue.len() < flow.Frames {
		i.member.received(f)
		i.box.queue.push(f)
	}
}

// judging sends verdicts on messages, and reports that messages are read, until ctx ends or wait
// is called, which waits until it has ended. It calls say from several goroutines, one at a time.
func (i intake) judging(ctx context.Context, c *Conn, say func(v *frame.Verdict) error) (wait func()) {
	var mu sync.Mutex
	one := func(v *frame.Verdict) error {
		mu.Lock()
		defer mu.Unlock()
		return say(v)
	}
	read := i.box.progress()
	c.pulse.start(func() (waits bool) {
		inLine := c.inLine.Load()
		if !i.member.waiting() && !inLine {
			return false
		}
		if now := i.box.progress(); now != read || inLine {
			read = now
			return one(&frame.Verdict{Reading: true, Read: i.member.readOn(c)}) == nil
		}
		return true
	})
	ctx, quit := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.member.report(ctx, one)
	}()
	return func() { quit(); c.pulse.stop(); <-done }
}
