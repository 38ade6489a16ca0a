package journal

import "time"

// Owed reports whether the subscriber may still get something: what is before it, or
// waits for its ack, or is to be delivered again before a time; zero is any time. What
// members of a group have is owed to all of them, for it may come to them.
func (c *Cursor) Owed(now, until time.Time) bool {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	last := int64(never)
	if !until.IsZero() {
		last = s.log.since(until)
	}
	if c.closed {
		return false
	}
	if s.group == nil && c.window.owes(last) {
		return true // before what is new is looked at: no gap of that may pass what comes again
	}
	s.feed.budget = scanBudget
	if s.feed.peek(s.log.since(now)) != none {
		return true
	}
	if s.group == nil {
		return false
	}
	if s.group.handing > 0 || s.group.back.len() > 0 {
		return true
	}
	for _, m := range s.group.members {
		if len(m.tasks) > 0 || m.window.owes(last) {
			return true
		}
	}
	return false
}

// owes reports whether something waits for its ack, or for a delivery before a time.
func (w *window) owes(until int64) bool {
	if w == nil {
		return false
	}
	return w.leases.n > 0 || w.retryAt() < until
}

// GiveUp ends the cursor because the publisher ends: whatever was to come becomes gaps,
// which it returns as records, with the number of messages that these count. Unsent are
// the records of a Fill that were not sent. Of AtLeastOnce, what was to be delivered again
// is told too; unacked is how many messages the subscriber has and has not answered, which
// are not. Of a group the first member to give up is told of what no member was given.
// Afterwards the cursor is closed.
func (c *Cursor) GiveUp(now time.Time, unsent []byte) (records []byte, missing uint64, unacked int) {
	l, s := c.share.log, c.share
	at := l.since(now)
	var told giveUp
	messages := told.unsent(unsent)
	s.mu.Lock()
	if !c.closed {
		unacked = max(s.giveUp(c, &told, at)-messages, 0)
	}
	s.mu.Unlock()
	for _, restart := range []bool{true, false} { // which comes before anything else
		for _, list := range told.gaps {
			for _, g := range list.all() {
				if (g.Reason == ReasonRestart) == restart {
					records = appendGap(records, g)
					missing += g.Count
				}
			}
		}
	}
	c.Close(now)
	return records, missing, unacked
}

// giveUp gathers gaps that come after everything else.
type giveUp struct{ gaps [Lanes]gaps }

func (t *giveUp) add(g Gap) { t.gaps[g.Lane].join(g) }

func (t *giveUp) one(lane int, seq uint64, why Reason) {
	t.add(Gap{Lane: lane, Reason: why, From: seq, To: seq, Count: 1})
}

// unsent adds what a frame holds that was not sent, and returns the number of messages.
func (t *giveUp) unsent(frame []byte) (messages int) {
	for kind, body := range records(frame) {
		switch kind { //nolint:exhaustive // the others tell nothing that is missing
		case KindGap:
			if g, problem := parseGap(body); problem == "" {
				t.add(g)
			}
		case KindMessage:
			rec := Record{Priority: DefaultPriority}
			if _, problem := rec.parse(body, 0); problem == "" {
				t.one(LaneOf(rec.Priority), rec.Seq, ReasonDrained)
				messages++
			}
		}
	}
	return messages
}

// giveUp turns into gaps what a cursor was to get, and returns how many messages it has
// and has not answered. The lock of s is held.
func (s *share) giveUp(c *Cursor, told *giveUp, at int64) (unacked int) {
	for _, t := range c.tasks {
		if t.gap == nil {
			s.release(t.hash)
		}
		s.uncount(&t)
		c.uncount(&t)
		told.task(t)
	}
	if c.tasks = nil; s.group != nil {
		c.emptied()
		c.hasAll() // what was sent arrives before this
	}
	if c.window != nil {
		for d := c.window.list.first(); d != nil; d = c.window.list.first() {
			if c.window.waits(d) {
				told.one(int(d.lane), d.seq, ReasonDrained)
			} else {
				unacked++
			}
			c.window.remove(d)
			s.done(d)
		}
	}
	if g := s.group; g != nil {
		for g.back.len() > 0 {
			t := g.back.pop()
			s.uncount(&t)
			told.task(t)
		}
	}
	s.feed.giveUp(told, at)
	return unacked
}

func (t *giveUp) task(of task) {
	if of.gap != nil {
		t.add(*of.gap)
		return
	}
	t.one(int(of.lane), of.seq, ReasonDrained)
}

// giveUp turns all that is in a feed into gaps.
func (f *feed) giveUp(told *giveUp, at int64) {
	for f.search != nil {
		f.budget = scanBudget
		f.lookBack(at)
	}
	f.behind = false
	for i := range f.lanes {
		l := &f.lanes[i]
		if f.latest != nil && i != laneNormal {
			continue // it has only one
		}
		for ; l.queue.n > 0; f.pop(l) {
			seq, _ := l.queue.front()
			f.seq = seq
			f.entry, f.slab = f.log.ring.at(seq)
			told.one(i, seq, f.missing(at))
		}
		for !l.live {
			f.budget = scanBudget
			f.skip(l, i, told, at)
		}
		for _, g := range l.gaps.all() {
			told.add(g)
		}
		l.gaps = gaps{}
	}
	for f.latest != nil && f.latest.n > 0 {
		f.seq = f.latest.front().seq
		f.entry, f.slab = f.log.ring.at(f.seq)
		told.one(laneNormal, f.seq, f.missing(at))
		f.popLatest()
	}
}

// missing is why the entry looked at does not come: the publisher ends, if nothing else
// was in the way.
func (f *feed) missing(at int64) Reason {
	if why := f.unfit(at); why != 0 {
		return why
	}
	return ReasonDrained
}

// skip goes through the ring to its end, or as far as the budget allows.
func (f *feed) skip(l *lane, i int, told *giveUp, at int64) {
	ring := &f.log.ring
	if f.latest != nil {
		for f.scan(l, i, at) == some {
			f.putLatest(f.seq, f.entry, f.slab)
			l.next++
		}
		l.live = l.next >= ring.end.Load()
		return
	}
	end := ring.end.Load()
	for ; l.next < end; l.next++ {
		f.seq = l.next
		if f.entry, f.slab = ring.at(f.seq); f.entry == nil {
			l.next = max(f.seq, min(ring.first.Load(), end)-1)
			told.add(Gap{Lane: i, Reason: ReasonRetention, From: f.seq, To: l.next})
			continue
		}
		if !f.mine(i) {
			continue
		}
		gap := Gap{Lane: i, Reason: f.missing(at), From: f.seq, To: f.seq, Count: 1}
		if f.slab == f.log.hole && f.keys != nil {
			gap.Count = 0 // perhaps it is not the subscription's
		}
		told.add(gap)
	}
	l.live = true
}
