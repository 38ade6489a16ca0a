package journal

import (
	"slices"
	"time"
)

// Range is the numbers of messages from From to To, both included.
type Range struct{ From, To uint64 }

// MaxRanges is how many ranges one ack may have.
const MaxRanges = 1024

// maxCause is how many bytes of a cause are kept.
const maxCause = 256

// Ack ends the delivery of messages for good, and returns how many waited for it.
//
// A range of one message acks that message. A longer one acks what is in it and was
// sent before its last message, or before any other that the subscriber has answered:
// not what was sent later, which the subscriber may not have, nor what waits to be
// delivered again. Numbers that are not the subscription's, or were acked before, do
// not matter; but every range must end with a message that was sent.
//
// Errors, at which nothing is acked: [*NotSentError], [*LimitError], [*OptionError] for a
// range that is none, or if the class is not AtLeastOnce; [ErrClosed].
func (c *Cursor) Ack(now time.Time, ranges ...Range) (int, error) {
	if err := atMost("ranges of an ack", len(ranges), MaxRanges); err != nil {
		return 0, err
	}
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range ranges {
		if r.From > r.To {
			return 0, &OptionError{"Range", r, "ends before it starts"}
		}
		if err := c.checkSent(r.To); err != nil {
			return 0, err
		}
	}
	n := 0
	for _, r := range ranges {
		n += s.ack(c.window, r)
	}
	if n > 0 {
		c.progress = s.log.since(now)
		s.opened(c, now)
	}
	return n, nil
}

// ack acks a range, and returns the number of messages that are.
func (s *share) ack(w *window, r Range) (n int) {
	if d := w.find(r.To); d != nil {
		w.answered(d)
	}
	i, j := w.search(r.From), w.search(r.To)
	if j < len(w.list) && w.list[j].seq == r.To {
		j++
	}
	left := w.list[:i]
	for _, d := range w.list[i:j] {
		if r.From != r.To && (d.waits || d.order > w.received) {
			left = append(left, d)
			continue
		}
		w.grow(-int(d.size))
		s.done(d)
		w.recycle(d)
		n++
	}
	w.list = slices.Delete(w.list, len(left), j)
	return n
}

// AckThrough is an Ack of the range that ends with seq.
func (c *Cursor) AckThrough(now time.Time, seq uint64) (int, error) {
	return c.Ack(now, Range{0, seq})
}

// Nack says that handling a message has failed. It is delivered again after the
// delay or, if that is negative, after the subscription's backoff; or is a dead letter
// if this was its last delivery. The cause is kept for its history, up to 256 bytes.
// A nack of a message that is not with the subscriber any more does nothing.
//
// Errors: [*NotSentError], [*OptionError] if the class is not AtLeastOnce, [ErrClosed].
func (c *Cursor) Nack(now time.Time, seq uint64, delay time.Duration, cause string) error {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.checkSent(seq); err != nil {
		return err
	}
	if d := c.window.find(seq); d != nil && !d.waits {
		c.window.answered(d)
		s.fail(c, d, s.log.since(now), Nacked, cause, delay)
		c.signal() // for the new deadline
		s.opened(c, now)
	}
	return nil
}

// Release gives a message back as if it had not been delivered: it is delivered again
// at once, in a group to another member if one has credit, and no delivery counts.
// Errors are those of [Cursor.Nack].
func (c *Cursor) Release(now time.Time, seq uint64) error {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.checkSent(seq); err != nil {
		return err
	}
	if d := c.window.find(seq); d != nil && !d.waits {
		c.window.answered(d)
		d.attempt--
		d.avoid = c
		c.window.retry(d, s.log.since(now))
		c.signal()
		s.opened(c, now)
	}
	return nil
}

// Extend starts the leases of messages anew. One whose lease has ended before is not
// the subscriber's any more, and stays so. Errors are those of [Cursor.Nack].
func (c *Cursor) Extend(now time.Time, seqs ...uint64) error {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.log.since(now)
	for _, seq := range seqs {
		if err := c.checkSent(seq); err != nil {
			return err
		}
		if d := c.window.find(seq); d != nil && !d.waits {
			c.window.answered(d)
			d.due = at + c.window.lease
			c.progress = at
			d.keep()
		}
	}
	return nil
}

// ExtendAll starts the leases of all messages anew that are with the subscriber: it
// says that it lives. Errors are those of [Cursor.Nack].
func (c *Cursor) ExtendAll(now time.Time) error {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.closed:
		return ErrClosed
	case c.window == nil:
		return &OptionError{"Subscription.Class", s.sub.Class, "has no acks; at least once has"}
	}
	at := s.log.since(now)
	for _, d := range c.window.list {
		if !d.waits {
			d.due = at + c.window.lease
			d.keep()
			c.progress = at
		}
	}
	return nil
}

// Deadline returns when Fill has something to do even if Ready is silent: a lease
// ends, or a message is due again. ok is false if there is no such time.
func (c *Cursor) Deadline() (at time.Time, ok bool) {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.window == nil {
		return time.Time{}, false
	}
	due := min(c.window.leaseEnd, c.window.retryAt)
	if due == never {
		return time.Time{}, false
	}
	return s.log.base.Add(time.Duration(due)), true
}

// checkSent returns an error if a message was not sent to the subscriber, as far as
// that can be known: of one that has left the ring, only that it is too new.
func (c *Cursor) checkSent(seq uint64) error {
	switch {
	case c.closed:
		return ErrClosed
	case c.window == nil:
		return &OptionError{"Subscription.Class", c.share.sub.Class, "has no acks; at least once has"}
	}
	w := c.window
	last := max(w.last[0], w.last[1], w.last[2])
	if seq == 0 || seq > last {
		return &NotSentError{Seq: seq, Last: last}
	}
	if w.find(seq) != nil {
		return nil
	}
	f := &c.share.feed
	if e, s := f.log.ring.at(seq); e != nil && (seq > w.last[e.lane] || !f.wants(e, s)) {
		return &NotSentError{Seq: seq, Last: last}
	}
	return nil
}

// opened lets messages into a window that may have room again. The lock is held.
func (s *share) opened(c *Cursor, now time.Time) {
	if s.group != nil {
		s.dispatch(s.log.since(now), false)
	}
	c.wake()
}

// due turns leases that have ended into failures, and returns what c should be sent
// again, nil if there is nothing.
func (s *share) due(c *Cursor, at int64) *delivery {
	s.endLeases(c, at)
	for {
		d := c.window.ready(at)
		if d == nil || d.expires == 0 || at < d.expires {
			return d
		}
		s.bury(c, d, DeadExpired)
	}
}

func (s *share) endLeases(c *Cursor, at int64) {
	for d := c.window.ended(at); d != nil; d = c.window.ended(at) {
		s.fail(c, d, at, LeaseEnded, "", -1)
	}
}

// fail ends one delivery of a message. A negative delay is the backoff.
func (s *share) fail(c *Cursor, d *delivery, at int64, how Outcome, cause string, delay time.Duration) {
	s.note(c, d, at, how, cause)
	d.failed++
	if d.failed >= s.sub.Deliveries {
		s.bury(c, d, DeadDeliveries)
		return
	}
	if delay < 0 {
		delay = backoff(s.sub.Backoff, d.failed)
	}
	c.window.retry(d, at+int64(delay))
}

// note adds the end of a delivery to the history of its message.
func (s *share) note(c *Cursor, d *delivery, at int64, how Outcome, cause string) {
	if n := len(d.history) - MaxDeliveries + 1; n > 0 {
		d.history = slices.Delete(d.history, 0, n)
	}
	d.history = append(d.history, Attempt{
		Session: c.id, Sent: s.log.time(d.sent), Ended: s.log.time(at), Outcome: how, Cause: cause[:min(len(cause), maxCause)],
	})
}

// bury makes a delivery in c's window a dead letter.
func (s *share) bury(c *Cursor, d *delivery, why DeadReason) {
	c.window.remove(d)
	s.done(d)
	s.dead.add(d, why, s.sub.Group, c.id)
	c.window.recycle(d)
	c.signal()
}
