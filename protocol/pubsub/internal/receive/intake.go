package receive

import (
	"context"
	"sync"

	"github.com/linkmesh/link/internal/notify"
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

// take waits for room and queues a frame, which then belongs to the subscription. If the stream
// ends before, the frame waits on together with what is left of the stream, if there is room for
// both. in is nil if the frame did not come on a stream.
func (i intake) take(ctx context.Context, f *frames, in *arrivals) error {
	c := f.conn
	ended := in.ended()
	outlast := func() error {
		ended = nil
		return in.outlast(len(f.body) + frameCost)
	}
	for !c.holds(len(f.body)) {
		select {
		case <-c.shrunk:
		case <-ended:
			if err := outlast(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	i.member.received(f)
	c.pulse.arm()
	for {
		var err error
		select {
		case i.box.in <- f:
			return nil
		case <-ended:
			if err = outlast(); err == nil {
				continue
			}
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-i.box.ctx.Done():
			err = context.Cause(i.box.ctx) //nolint:contextcheck // the subscription's context may end first
		}
		i.member.dropped(f)
		return err
	}
}

// note queues a frame with the publisher's position. Without room it drops the frame, because
// the next one has the position again.
func (i intake) note(f *frames) {
	i.member.received(f)
	select {
	case i.box.in <- f:
	default:
		i.member.dropped(f)
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
