package journal

import (
	"maps"
	"slices"
	"time"
)

const (
	// SessionKept is how long a session waits for its subscriber.
	SessionKept = time.Minute
	// HandOver is how long a disconnected member of a group keeps what it has.
	HandOver = time.Second
)

// session is what a cursor of a session knows of it.
type session struct {
	kept   time.Duration
	holder string
	ended  func()
}

// Detach says that the subscriber is disconnected. The session stays for Subscription.Kept,
// and messages are kept before it as long as they are in the ring; [Log.Resume] goes on with
// it. Without a session the subscription ends: what was on its way to a member of a group
// of BestEffort is told to the others as a gap, for nobody knows whether it arrived.
func (c *Cursor) Detach(now time.Time) {
	if c.id == "" {
		l := c.share.log
		l.mu.Lock()
		left := l.close(c, l.since(now), false)
		l.mu.Unlock()
		left.handOver()
		return
	}
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.closed || c.detached != 0 {
		return
	}
	c.detached = max(s.log.since(now), 1)
	c.signal()
}

// Lose says that the subscriber is gone and does not come back: its session ends as if it had been kept
// long enough. One that others of the same name may go on with stays, and what a member of a group has goes to the
// others at once.
func (c *Cursor) Lose(now time.Time, named bool) {
	if named {
		c.Detach(now)
		c.handOver(now, false)
		return
	}
	l := c.share.log
	l.mu.Lock()
	left := l.close(c, l.since(now), false)
	l.mu.Unlock()
	left.handOver()
}

// HandOver gives what a member of a group has to the others, if it has been disconnected for [HandOver].
func (c *Cursor) HandOver(now time.Time) { c.handOver(now, true) }

func (c *Cursor) handOver(now time.Time, awaited bool) {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.log.since(now)
	if s.group == nil || s.gone || awaited && at-c.detached < int64(HandOver) {
		return
	}
	s.takeOver(c, at)
	s.dispatch(at, false)
}

// takeOver takes what a member has that is disconnected.
func (s *share) takeOver(c *Cursor, at int64) {
	if c.closed || c.detached == 0 {
		return
	}
	s.group.handing++
	s.steps(func() bool { return !c.closed && !s.strip(c, at, false) })
	s.group.handing--
}

// Resume goes on with a session on a new stream, whether or not its old cursor was
// detached: that one is closed. What was delivered and not acked is delivered again at
// once. That does not count as a failure, as a subscriber that resumes is alive: a bad
// network alone makes no dead letters. Gaps is how many gaps the subscriber has received in the
// session; those that were told after these are told again. Errors:
// [ErrNoSession], [ErrHeld] if somebody else than holder has the session and is connected.
func (l *Log) Resume(id, holder string, gaps uint64, now time.Time) (*Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.sessions[id]
	if old == nil {
		return nil, ErrNoSession
	}
	at := l.since(now)
	s := old.share
	s.mu.Lock()
	defer s.mu.Unlock()
	if old.detached != 0 && at-old.detached >= int64(old.owner.kept) {
		return nil, ErrNoSession // Tick will end it
	}
	if old.detached == 0 && old.owner.holder != holder {
		return nil, ErrHeld
	}
	c := &Cursor{
		share: s, id: id, owner: session{old.owner.kept, holder, old.owner.ended}, ready: make(chan struct{}, 1), counts: old.counts, told: old.told,
		credit: s.sub.Credit, tasks: old.tasks, window: old.window, backlog: old.backlog, taskRoom: old.taskRoom,
	}
	old.closed = true
	old.tasks, old.window, old.backlog = nil, nil, nil
	old.signal()
	c.window.heard(gaps)
	s.tellAgain(c)
	c.window.told = gaps // it counts on from here, also if others were told meanwhile of what it had heard
	c.window.lose()
	if s.group != nil {
		c.credit = old.weight // what was on its way is sent again, or was read
		s.replace(old, c, at)
	} else {
		s.only = c
	}
	l.sessions[id] = c
	return c, nil
}

// disconnected makes a delivery that a subscriber leaves due again, at once if it was with
// it, and reports whether it is to be delivered again at all. A subscriber that is not alive may have died
// of a message, so that its delivery has failed.
func (s *share) disconnected(c *Cursor, d *delivery, at int64, alive bool) bool {
	w := c.window
	lost := w.isLost(d)
	switch {
	case w.waits(d) && !lost:
		if alive && d.place == lapsed || w.forgives && d.place == lapsed {
			d.forgive()
			w.retry(d, at) // perhaps it never arrived
		}
	case alive || lost:
		d.forgive()
		s.note(c, d, at, Disconnected, "")
		w.retry(d, at)
	default:
		s.fail(c, d, at, Disconnected, "", 0)
	}
	return w.find(d.seq) == d
}

// Tick does what time asks for: messages leave the ring by age, leases of subscribers
// that do not call Fill end, sessions end, members that are gone for long hand over.
// Call it about once a second.
func (l *Log) Tick(now time.Time) {
	at := l.since(now)
	l.mu.Lock()
	l.clock = max(l.clock, at)
	l.ring.evict(l.opts.Bytes, l.clock-int64(l.opts.Age))
	var left []*leaver
	for _, c := range slices.Collect(maps.Values(l.sessions)) {
		if c.gone(at, c.owner.kept) {
			left = append(left, l.close(c, at, false))
		}
	}
	leased := make([]*share, 0, len(l.leased))
	for s := range l.leased {
		leased = append(leased, s)
	}
	l.mu.Unlock()
	for _, t := range left {
		t.handOver()
	}
	for _, s := range leased {
		s.tick(at)
	}
}

// gone reports whether a cursor was detached for so long.
func (c *Cursor) gone(at int64, d time.Duration) bool {
	c.share.mu.Lock()
	defer c.share.mu.Unlock()
	return c.detached != 0 && at-c.detached >= int64(d)
}

// tick ends leases, and hands over what members left.
func (s *share) tick(at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.only; c != nil {
		if c.detached == 0 { // otherwise its leases end when it resumes
			s.steps(func() bool { return !c.closed && !c.forgives() && !s.endLeases(c, at) })
		}
		s.relieve(c, at)
		return
	}
	for _, c := range slices.Clone(s.group.members) {
		switch {
		case c.closed:
		case c.detached == 0:
			s.steps(func() bool { return !c.closed && !s.reclaim(c, at) })
		case at-c.detached >= int64(HandOver):
			s.takeOver(c, at)
		}
	}
	s.dispatch(at, false)
	for _, c := range slices.Clone(s.group.members) {
		if c.window != nil {
			s.relieve(c, at)
		}
	}
}

// steps does what takes long in steps, between which others can have the lock.
func (s *share) steps(more func() bool) {
	for more() {
		s.mu.Unlock()
		s.mu.Lock()
	}
}

// forgives reports whether leases that have ended are to be forgiven first.
func (c *Cursor) forgives() bool { return c.window.forgives }

// relieve wakes a cursor whose window has something due again, or room again, and lets go
// of memory that it does not need.
func (s *share) relieve(c *Cursor, at int64) {
	if c.closed {
		return
	}
	if at >= c.window.retryAt() || c.blocked && c.window.mayHaveRoom() {
		c.wake()
	}
	first := s.log.ring.first.Load()
	s.steps(func() bool { return !c.closed && !c.window.keepOld(first, stepsAtOnce) })
}
