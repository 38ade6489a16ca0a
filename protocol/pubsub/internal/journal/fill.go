package journal

import "time"

// Fill appends records to buf, in order: at most maxMessages messages, and no more
// than maxBytes bytes, except that the first message and the gaps before it are appended
// whatever their length, with the records that explain it.
// It returns the extended buf and the number n of appended messages. Gaps and marks do
// not count, so bytes may come without messages.
//
// more reports that Fill has stopped at a limit, or has not looked at everything yet:
// call it again when there is room. If more is false, there is nothing to write until
// [Cursor.Ready] receives or, for AtLeastOnce, [Cursor.Deadline] passes. Fill never blocks.
//
// Everything that Fill has appended counts as delivered. A writer that fails must discard
// the cursor and let the subscriber resume from where it is.
//
// Errors: [*TooFarBehindError], which is permanent and may come with records; [ErrClosed].
func (c *Cursor) Fill(buf []byte, maxBytes, maxMessages int, now time.Time) (out []byte, n int, more bool, err error) {
	s := c.share
	at := s.log.since(now)
	w := writer{out: buf, start: len(buf), limit: len(buf) + maxBytes}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feed.budget = scanBudget
	c.parked, c.blocked = false, false
	for {
		if c.closed || c.detached != 0 {
			return w.out, w.n, false, ErrClosed
		}
		what := c.next(at)
		if !c.marked && what != busy && what != failed && c.replayed() {
			if !w.room(maxMarkLen) {
				return w.out, w.n, true, nil
			}
			c.marked = true
			c.told = s.feed.live - 1
			w.out = appendMark(w.out, Mark{MarkLive, c.told})
		}
		switch what {
		case none, full:
			c.parked, c.blocked = what == none, what == full
			c.markProgress(&w)
			return w.out, w.n, false, nil
		case failed:
			return w.out, w.n, false, s.feed.tooFar()
		case busy:
			c.markProgress(&w)
			return w.out, w.n, true, nil
		case told:
			n := c.gapsDue()
			if !w.room(n * maxGapLen) {
				return w.out, w.n, true, nil
			}
			before := len(w.out)
			for !c.writeGaps(&w, &n) {
				s.mu.Unlock()
				s.mu.Lock()
				// Some of the gaps without the others would say too much.
				if c.closed || c.detached != 0 {
					return w.out[:before], w.n, false, ErrClosed
				}
			}
		case some:
			if w.n >= maxMessages || !w.room(c.need()) {
				c.markProgress(&w)
				return w.out, w.n, true, nil
			}
			c.write(&w, at)
			c.run(&w, at, maxMessages)
		}
		if w.locked >= lockedBytes || w.turns >= lockedMessages {
			w.locked, w.turns = 0, 0
			s.mu.Unlock()
			s.mu.Lock()
		}
	}
}

// writer is the state of one Fill.
type writer struct {
	out          []byte
	start, limit int
	n            int
	// locked and turns are the bytes and messages copied since the lock was last released.
	locked, turns int
}

func (w *writer) room(n int) bool {
	return len(w.out) == w.start || len(w.out)+n <= w.limit
}

// next finds what comes next. If it is a message, next sets c.head.
func (c *Cursor) next(at int64) state {
	s := c.share
	if s.group != nil {
		return c.nextTask(at)
	}
	if c.window != nil {
		switch d, all := s.due(c, at); {
		case !all:
			return busy
		case d == nil:
		case s.feed.gapsBefore(d):
			return told
		default:
			c.head = d.head()
			return some
		}
	}
	what := s.feed.peek(at)
	if what != some {
		return what
	}
	if c.window != nil && !c.window.room(s.feed.entry.size) {
		return full
	}
	f := &s.feed
	c.head = head{seq: f.seq, topic: f.entry.topic, clock: f.entry.clock, record: f.entry.record(f.slab), size: f.entry.size}
	return some
}

// gapsBefore reports whether there are gaps that were told before a delivery and may not have
// arrived either. They must come first: a subscriber that has the delivery is taken to know
// everything that came before it.
func (f *feed) gapsBefore(d *delivery) bool {
	// The gap of a restart is in the high lane, the other gaps are in the delivery's lane.
	for _, i := range []int{laneHigh, int(d.lane)} {
		if g := f.lanes[i].gaps.all(); len(g) > 0 && (g[0].From == 0 || i == int(d.lane) && g[0].From < d.seq) {
			f.at, f.until = i, d.seq
			if i != int(d.lane) {
				f.until = 1
			}
			return true
		}
	}
	return false
}

// replayed reports whether everything that the subscriber gets from before its subscription
// was written.
func (c *Cursor) replayed() bool {
	return c.share.feed.replayed() && (len(c.tasks) == 0 || c.tasks[0].seq >= c.share.feed.live) && c.window.unsent() >= c.share.feed.live
}

// need returns a bound on the bytes that the head takes.
func (c *Cursor) need() int {
	return len(c.head.record) + len(c.head.topic.name) + topicLen + clockLen + deliveryLen
}

// write takes the head and writes it. A long record is copied without the lock: the
// record does not change, and the head belongs to the goroutine that calls Fill.
func (c *Cursor) write(w *writer, at int64) {
	h := c.head
	attempt := c.take(at)
	if !c.knows(h.topic) {
		c.introduce(h.topic)
		w.out = appendTopic(w.out, uint64(h.topic.id), h.topic.name)
	}
	if h.clock != c.clock {
		c.clock = h.clock
		w.out = appendClock(w.out, h.clock)
	}
	if attempt > 1 {
		w.out = appendDelivery(w.out, attempt)
	}
	if len(h.record) < longRecord {
		w.out = append(w.out, h.record...)
	} else {
		c.share.mu.Unlock()
		w.out = append(w.out, h.record...)
		c.share.mu.Lock()
		w.locked, w.turns = 0, 0
	}
	w.n++
	w.turns++
	w.locked += len(h.record)
	c.tell(h.seq)
	c.counts.messages++
	c.counts.bytes += uint64(len(h.record))
}

// knows reports whether a topic was introduced on the stream.
func (c *Cursor) knows(t *topic) bool {
	return t.id < uint32(len(c.known)) && c.known[t.id] == t.turn
}

// introduce notes that a topic was introduced on the stream.
func (c *Cursor) introduce(t *topic) {
	if n := int(t.id) + 1; n > len(c.known) {
		known := make([]uint32, min(max(n, 2*len(c.known)), MaxTopics))
		copy(known, c.known)
		c.known = known
	}
	c.known[t.id] = t.turn
}

// writeGaps writes at most stepsAtOnce of n gaps that belong together. It lowers n by as many,
// and reports whether none is left.
func (c *Cursor) writeGaps(w *writer, n *int) bool {
	some := min(*n, stepsAtOnce)
	for range some {
		g := c.takeGap()
		c.count(g)
		w.out = appendGap(w.out, g)
	}
	*n -= some
	w.turns += some
	return *n == 0
}

// take takes the head, and returns the number of this delivery, 1 for the first.
func (c *Cursor) take(at int64) (attempt int) {
	s := c.share
	if s.group != nil {
		return c.takeTask(at)
	}
	c.progress = at
	if d := c.head.delivery; d != nil {
		return c.window.again(d, at)
	}
	if c.window != nil {
		c.window.add(s.feed.seq, s.feed.entry, s.feed.slab, at)
	}
	s.feed.commit()
	return 1
}

func (c *Cursor) gapsDue() int {
	if c.share.group != nil {
		return 1
	}
	return c.share.feed.gapsDue()
}

func (c *Cursor) takeGap() Gap {
	if c.share.group != nil {
		return c.takeGapTask()
	}
	return c.share.feed.popGap()
}

func (c *Cursor) count(g Gap) {
	if c.window != nil {
		c.window.tell(g)
	}
	if g.Count == 0 {
		c.counts.unknown++
	}
	c.counts.gaps[g.Reason] += g.Count
	c.tell(g.To)
}

// markProgress tells the subscriber how far it has come if messages do not show it: for Latest
// after each batch, for other classes after many messages that were not the subscriber's.
func (c *Cursor) markProgress(w *writer) {
	f := &c.share.feed
	if c.share.group != nil || !c.marked && f.latest == nil || f.search != nil || !w.room(maxMarkLen) {
		return
	}
	if f.log.settled.Load() < c.told+markEvery && (f.latest == nil || w.n == 0) {
		return
	}
	p := c.least()
	if p < c.told+markEvery && (f.latest == nil || w.n == 0) {
		return
	}
	c.told = max(c.told, p)
	w.out = appendMark(w.out, Mark{MarkProgress, p})
}

// least returns the number up to which everything was written on this stream.
func (c *Cursor) least() uint64 {
	return min(c.share.feed.position().Least(), c.window.unsent()-1)
}

// tell notes that the subscriber has come to a number. The numbers of Latest do not count,
// because they are not in order.
func (c *Cursor) tell(seq uint64) {
	if c.share.feed.latest == nil {
		c.told = max(c.told, seq)
	}
}

// next is what peek has found, in lane at: the message seq, or gaps that begin before until.
type next struct {
	at    int
	until uint64
	seq   uint64
	entry *entry
	slab  *slab
}
