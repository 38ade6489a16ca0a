package journal

import "time"

// Owed reports whether the subscriber may still get something: a message that was not yet
// delivered, that waits for its ack, or that is due again before until. A zero until means any
// time. The messages that members of a group have are owed to every member, which may get them.
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
	// The window comes before peek: no gap of new messages may overtake a redelivery.
	if s.group == nil && c.window.owes(last) {
		return true
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

// owes reports whether a message waits for its ack, or is due again before a time.
func (w *window) owes(until int64) bool {
	if w == nil {
		return false
	}
	return w.leases.n > 0 || w.retryAt() < until
}

// GiveUp closes the cursor because the publisher ends. The messages that were still to come
// become gaps, which GiveUp returns as records; missing is how many messages they count.
// unsent has the records of a Fill that were not sent. For AtLeastOnce, the gaps include
// messages that were to be delivered again, but not those that the subscriber has and has not
// answered, which unacked counts. In a group, the first member to give up is told of the
// messages that no member was given.
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
	// The gap of a restart comes before all others.
	for _, restart := range []bool{true, false} {
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

// unsent adds the messages and gaps of a frame that was not sent, and returns how many
// messages it holds.
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

// giveUp turns what a cursor was to get into gaps, and returns how many messages the
// subscriber has and has not answered. s.mu is held.
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
		// The messages that were sent arrive before these gaps.
		c.hasAll()
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

// giveUp turns everything that is in a feed into gaps.
func (f *feed) giveUp(told *giveUp, at int64) {
	for f.search != nil {
		f.budget = scanBudget
		f.lookBack(at)
	}
	f.behind = false
	for i := range f.lanes {
		l := &f.lanes[i]
		// Latest has only one lane.
		if f.latest != nil && i != laneNormal {
			continue
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

// missing returns why the entry looked at does not come: ReasonDrained, unless it could not
// have been delivered anyway.
func (f *feed) missing(at int64) Reason {
	if why := f.unfit(at); why != 0 {
		return why
	}
	return ReasonDrained
}

// skip reads the ring to its end and adds its messages as gaps. For Latest it enters them into
// f.latest instead, and reads only as far as the budget allows.
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
			// Only the hash of its key matches, so it may not be the subscription's.
			gap.Count = 0
		}
		told.add(gap)
	}
	l.live = true
}
