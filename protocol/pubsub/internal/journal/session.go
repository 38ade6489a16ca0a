package journal

import (
	"maps"
	"slices"
	"time"

	"github.com/linkmesh/link/internal/notify"
)

const (
	// SessionKept is how long a session waits for its subscriber by default.
	SessionKept = time.Minute
	// HandOver is how long a disconnected member of a group keeps what it has.
	HandOver = time.Second
)

// session is what a cursor knows of its session.
type session struct {
	kept   time.Duration
	holder string
	ended  func()
}

// Detach says that the subscriber is disconnected. The session stays for Subscription.Kept,
// and keeps its messages as long as they are in the ring. [Log.Resume] continues it. Without
// a session the subscription ends. Messages in flight to a member of a BestEffort group are
// told to the other members as a gap, because it is unknown whether they arrived.
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
	c.ready.Set()
}

// Lose says that the subscriber is gone and does not come back: its session ends as if it had
// been kept long enough. If named is set, others of the same name may resume the session: it
// stays, and what a member of a group has goes to the other members at once.
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

// takeOver gives what a disconnected member has to the other members.
func (s *share) takeOver(c *Cursor, at int64) {
	if c.closed || c.detached == 0 {
		return
	}
	s.group.handing++
	s.steps(func() bool { return !c.closed && !s.strip(c, at, false) })
	s.group.handing--
}

// Resume continues a session on a new stream, and closes its old cursor, whether or not that
// was detached. Messages that were delivered and not acked are delivered again at once. This
// does not count as a failure, because a subscriber that resumes is alive: a bad network alone
// makes no dead letters. gaps is how many gaps the subscriber has received in the session;
// later gaps are told again.
//
// Errors: [ErrNoSession]; [ErrHeld] if somebody other than holder has the session and is
// connected.
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
	// Tick will end a session that was detached for too long.
	if old.detached != 0 && at-old.detached >= int64(old.owner.kept) {
		return nil, ErrNoSession
	}
	if old.detached == 0 && old.owner.holder != holder {
		return nil, ErrHeld
	}
	c := &Cursor{
		share: s, id: id, owner: session{old.owner.kept, holder, old.owner.ended}, ready: notify.NewFlag(), counts: old.counts, told: old.told,
		window: old.window, membership: membership{credit: s.sub.Credit, tasks: old.tasks, backlog: old.backlog, taskRoom: old.taskRoom},
	}
	old.closed = true
	old.tasks, old.window, old.backlog = nil, nil, nil
	old.ready.Set()
	c.window.heard(gaps)
	s.tellAgain(c)
	// The subscriber counts on from here, even if others were told meanwhile of gaps that it has.
	c.window.told = gaps
	c.window.lose()
	if s.group != nil {
		// Messages that were in flight are sent again, or were read.
		c.credit = old.weight
		s.replace(old, c, at)
	} else {
		s.only = c
	}
	l.sessions[id] = c
	return c, nil
}

// disconnected makes a delivery of a subscriber that leaves due again, at once if the
// subscriber had it, and reports whether it is to be delivered again at all. A subscriber that
// is not alive may have died of the message, so that the delivery counts as failed.
func (s *share) disconnected(c *Cursor, d *delivery, at int64, alive bool) bool {
	w := c.window
	lost := w.isLost(d)
	switch {
	case w.waits(d) && !lost:
		if alive && d.place == lapsed || w.forgives && d.place == lapsed {
			// The delivery may never have arrived.
			d.forgive()
			w.retry(d, at)
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

// Tick does what has become due: it evicts messages by age, ends leases of subscribers that do
// not call Fill, ends sessions, and hands over what members have that were disconnected for
// [HandOver]. Call it about once a second.
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

// gone reports whether a cursor has been detached for at least d.
func (c *Cursor) gone(at int64, d time.Duration) bool {
	c.share.mu.Lock()
	defer c.share.mu.Unlock()
	return c.detached != 0 && at-c.detached >= int64(d)
}

// tick ends leases, and hands over what disconnected members have.
func (s *share) tick(at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.only; c != nil {
		// The leases of a detached cursor end when it resumes.
		if c.detached == 0 {
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

// steps calls more until it returns false. Between two calls others can have the lock.
func (s *share) steps(more func() bool) {
	for more() {
		s.mu.Unlock()
		s.mu.Lock()
	}
}

// forgives reports whether leases that have ended must be forgiven first.
func (c *Cursor) forgives() bool { return c.window.forgives }

// relieve wakes a cursor whose window has a message due again, or may have room again, and frees
// memory that the window does not need.
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
