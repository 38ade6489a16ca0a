package journal

import (
	"slices"
	"strings"
	"time"
)

// Range is a range of message numbers, From and To included.
type Range struct{ From, To uint64 }

// MaxRanges is the most ranges that one ack may have.
const MaxRanges = 1024

// maxCause is how many bytes of a cause are kept.
const maxCause = 256

// Ack ends the delivery of messages for good, and returns how many of them were unacked.
//
// A range of one message acks that message. A longer range acks the messages in it that
// were sent before its last message, or before any other message that the subscriber has
// answered. It acks neither messages that were sent later, which the subscriber may not
// have, nor messages that wait for redelivery. Numbers that are not the subscription's, or
// were acked before, are ignored, but every range must end with a message that was sent.
//
// Errors: [*NotSentError], [*LimitError], [*OptionError] if a range is invalid or the class
// is not AtLeastOnce; [ErrClosed]. On an error nothing is acked.
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
		if d := c.window.find(r.To); d != nil {
			c.window.answered(d)
		}
		for !c.closed {
			some, all := s.ack(c.window, r)
			c.answers += uint64(some)
			if n += some; all {
				break
			}
			// Publishers must not wait for all of a long range.
			s.mu.Unlock()
			s.mu.Lock()
		}
	}
	if n > 0 && !c.closed {
		c.progress = s.log.since(now)
		s.opened(c, now)
	}
	return n, nil
}

// ack acks at most stepsAtOnce messages of a range. It returns how many it has acked, and
// whether the range is done. It skips chunks that hold nothing it may ack.
func (s *share) ack(w *window, r Range) (n int, all bool) {
	if r.From == r.To {
		if d := w.find(r.To); d != nil {
			s.end(w, d)
			return 1, true
		}
		return 0, true
	}
	var acked [stepsAtOnce]*delivery
	for i := w.list.chunkOf(r.From); i < len(w.list.chunks) && n <= stepsAtOnce-chunkSize; i++ {
		c := w.list.chunks[i]
		if c.at[c.head].seq > r.To {
			break
		}
		if c.least > w.received {
			continue
		}
		w.looked += uint64(c.len())
		least := uint64(never)
		for _, d := range c.list() {
			switch {
			case w.waits(d):
			case d.order <= w.received && r.From <= d.seq && d.seq <= r.To:
				acked[n] = d
				n++
			default:
				least = min(least, d.order)
			}
		}
		c.least = least
	}
	for _, d := range acked[:n] {
		s.end(w, d)
	}
	return n, n <= stepsAtOnce-chunkSize
}

// end ends the delivery of a message for good.
func (s *share) end(w *window, d *delivery) {
	w.remove(d)
	s.done(d)
	w.recycle(d)
}

// AckThrough is Ack for the range from the first message to seq.
func (c *Cursor) AckThrough(now time.Time, seq uint64) (int, error) {
	return c.Ack(now, Range{0, seq})
}

// Nack says that handling a message has failed. The message is delivered again after
// delay or, if delay is negative, after the subscription's backoff. It becomes a dead
// letter if this was its last delivery. Its history keeps up to 256 bytes of the cause.
// A nack of a message that is no longer with the subscriber does nothing.
//
// Errors: [*NotSentError], [*OptionError] if the class is not AtLeastOnce, [ErrClosed].
func (c *Cursor) Nack(now time.Time, seq uint64, delay time.Duration, cause string) error {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.checkSent(seq); err != nil {
		return err
	}
	if d := c.window.find(seq); d != nil && !c.window.waits(d) {
		c.window.answered(d)
		c.answers++
		s.fail(c, d, s.log.since(now), Nacked, cause, delay)
		// The deadline may have changed.
		c.ready.Set()
		s.opened(c, now)
	}
	return nil
}

// Release gives a message back as if it had not been delivered. It is delivered again at
// once, in a group to another member if one has credit, and the released delivery does
// not count. The errors are the same as for [Cursor.Nack].
func (c *Cursor) Release(now time.Time, seq uint64) error {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.checkSent(seq); err != nil {
		return err
	}
	if d := c.window.find(seq); d != nil && !c.window.waits(d) {
		c.window.answered(d)
		c.answers++
		d.attempt--
		d.avoid = c
		c.window.retry(d, s.log.since(now))
		c.ready.Set()
		s.opened(c, now)
	}
	return nil
}

// Extend restarts the leases of messages. It does nothing for a message whose lease has
// already ended. The errors are the same as for [Cursor.Nack].
func (c *Cursor) Extend(now time.Time, seqs ...uint64) error {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.log.since(now)
	for _, seq := range seqs {
		if err := c.checkSent(seq); err != nil {
			return err
		}
		if d := c.window.find(seq); d != nil && !c.window.waits(d) {
			c.window.answered(d)
			c.window.leases.remove(d)
			d.due = at + c.window.lease
			c.window.leases.add(d)
			c.progress = at
		}
	}
	return nil
}

// ExtendAll restarts the leases of all messages that are with the subscriber, because the
// subscriber has shown that it is alive. The errors are the same as for [Cursor.Nack].
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
	if at := s.log.since(now); c.window.leases.n > 0 {
		c.window.alive = max(c.window.alive, at+c.window.lease)
		c.progress = at
	}
	return nil
}

// Deadline returns when Fill has something to do even if Ready is silent, because a lease
// ends or a message is due again. ok is false if there is no such time.
func (c *Cursor) Deadline() (at time.Time, ok bool) {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.window == nil {
		return time.Time{}, false
	}
	next := min(c.window.leaseEnd(), c.window.retryAt())
	if next == never {
		return time.Time{}, false
	}
	return s.log.base.Add(time.Duration(next)), true
}

// checkSent returns an error if a message was not sent to the subscriber. For a message
// that has left the ring, it can only tell whether the number is too high.
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

// opened resumes delivery to c, whose window may have room again. s.mu is held.
func (s *share) opened(c *Cursor, now time.Time) {
	if s.group != nil {
		s.dispatch(s.log.since(now), false)
	}
	c.wake()
}

// due turns leases that have ended into failures, and returns the delivery that c should
// be sent again, nil if there is none. all is false if there may be more to do by now.
func (s *share) due(c *Cursor, at int64) (d *delivery, all bool) {
	w := c.window
	if !s.forgive(w, at) || !s.endLeases(c, at) {
		return nil, false
	}
	for range stepsAtOnce {
		switch d := w.ready(at); {
		case d == nil:
			return nil, true
		case d.expires != 0 && at >= d.expires:
			s.bury(c, d, DeadExpired)
		case w.isLost(d):
			// A lost connection is not a failure, nor are the leases that ended meanwhile.
			d.forgive()
			s.note(c, d, at, Disconnected, "")
			w.retry(d, at)
		default:
			return d, true
		}
	}
	return nil, false
}

// forgive makes at most stepsAtOnce deliveries due whose leases ended although the subscriber
// was alive, and reports whether none is left.
func (s *share) forgive(w *window, at int64) bool {
	for range stepsAtOnce {
		if !w.forgives || len(w.lapsed.list) == 0 {
			w.forgives = false
			return true
		}
		d := w.lapsed.list[0]
		d.forgive()
		w.retry(d, at)
	}
	return false
}

// endLeases fails at most stepsAtOnce deliveries whose leases have ended, and reports
// whether none is left.
func (s *share) endLeases(c *Cursor, at int64) bool {
	for range stepsAtOnce {
		d := c.window.ended(at)
		if d == nil {
			return true
		}
		s.fail(c, d, at, LeaseEnded, "", -1)
	}
	return false
}

// fail ends one delivery of a message as failed. A negative delay means the backoff.
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
	if how == LeaseEnded {
		c.window.wait(d, at+int64(delay), lapsed)
	} else {
		c.window.retry(d, at+int64(delay))
	}
}

// note adds the end of a delivery to the history of its message. If there is no room for
// another attempt, it drops the oldest.
func (s *share) note(c *Cursor, d *delivery, at int64, how Outcome, cause string) {
	w, cause := c.window, cause[:min(len(cause), maxCause)]
	before := d.cost()
	cost := attemptCost + len(cause)
	if len(d.history) >= MaxHistory || w.holder.Take(int64(cost)) != nil {
		if len(d.history) > 0 {
			d.causes -= len(d.history[0].Cause)
			d.history = slices.Delete(d.history, 0, 1)
		}
	} else {
		w.holder.Give(int64(cost))
	}
	d.history = append(d.history, Attempt{
		Session: c.id, Sent: s.log.time(d.sent), Ended: s.log.time(at), Outcome: how, Cause: strings.Clone(cause),
	})
	d.causes += len(cause)
	w.grow(d.cost() - before)
}

// bury removes a delivery from c's window and makes it a dead letter.
func (s *share) bury(c *Cursor, d *delivery, why DeadReason) {
	c.window.remove(d)
	s.done(d)
	s.died(c, d, why)
	c.window.recycle(d)
	c.ready.Set()
}

// died adds a delivery, which is in no window, to the dead letters of the share.
func (s *share) died(c *Cursor, d *delivery, why DeadReason) {
	if len(s.dead.list) == 0 {
		s.log.dying.add(s)
	}
	s.dead.add(d, why, s.sub.Group, c.id, c.window.holder.Key())
}
