package receive

import (
	"errors"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// Delivery is what [Inbox.Next] has found: a message, or a gap in place of messages.
type Delivery struct {
	// Conn is the connection on which it came.
	Conn *Conn
	// Gap is not nil if messages are missing. Record means nothing then.
	Gap *Gap
	// Record is a message. It refers to memory that is used again after the next call of Next, except
	// for its headers and its trace, which may be kept.
	Record journal.Record
}

// Gap says which messages of a publisher are missing from a subscription, and why. The package
// pubsub has the same struct, with the meaning of its fields.
type Gap struct {
	Reason   string
	From, To uint64
	Count    uint64
}

// Wait waits until there is something to read. It returns false if the subscription has ended.
func (b *Inbox) Wait() bool {
	for b.reading == nil {
		if b.ctx.Err() != nil {
			return false
		}
		if f := b.queue.pop(); f != nil {
			f.conn.popped()
			f.conn.reader.Reset(f.body)
			b.reading = f
			break
		}
		select {
		case <-b.queue.filled:
		case <-b.ctx.Done():
		}
	}
	return true
}

// Next writes the next message or gap to d. It does not wait: if it returns false, the frame that was
// there to be read has ended, and it is time for [Inbox.Wait].
//
// These are two methods because a goroutine that waits should need little stack.
func (b *Inbox) Next(d *Delivery) bool {
	f := b.reading
	if f == nil {
		return false
	}
	if f.gap != nil {
		d.Conn, d.Gap = f.conn, f.gap
		b.reading = nil
		return true
	}
	c, rec := f.conn, &d.Record
	for {
		ok, err := c.reader.Next(rec)
		if err == nil && ok && rec.Kind == journal.KindMessage && !c.asked(rec.Topic) {
			err = errNotAsked
		}
		if err != nil || !ok {
			b.doneReading(f, err)
			return false
		}
		if !c.Member.observe(c, rec) || rec.Kind == journal.KindMark || !b.follows(rec) {
			continue
		}
		d.Conn, d.Gap = c, nil
		switch {
		case rec.Kind == journal.KindGap:
			d.Gap = &Gap{Reason: rec.Gap.Reason.String(), From: rec.Gap.From, To: rec.Gap.To, Count: rec.Gap.Count}
		case !c.Member.mayWrite(b.conf.Rule.Load(), c, rec.Topic):
			c.Member.Ack(c, rec.Seq)
			d.Gap = &Gap{Reason: "refused", From: rec.Seq, To: rec.Seq, Count: 1}
		case rec.Headers.Len()+rec.Trace.Len() > 0:
			f.kept = true
		}
		return true
	}
}

// doneReading is called when a frame has no further record or, if err is not nil, makes no sense.
func (b *Inbox) doneReading(f *frames, err error) {
	c := f.conn
	if err != nil {
		link.HostOf(b.conf.Node).Logger().Warn("pubsub: invalid data from a publisher; its stream is opened again", "topic", b.conf.Topic, "publisher", c.Peer, "error", err)
		c.Member.breakOff(c)
	}
	b.reading = nil
	c.read(f)
}

var errNotAsked = errors.New("a message of a topic that was not asked for")
