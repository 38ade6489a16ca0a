package journal

import "time"

// Stats is what a cursor has done and has before it.
type Stats struct {
	Lag      Lag
	Messages uint64 // delivered, each time counting
	Bytes    uint64 // what these messages had together
	// Gaps is the missing messages by [Reason], of gaps whose count is known;
	// UnknownGaps is the number of the other gaps.
	Gaps        [Reasons]uint64
	UnknownGaps uint64
	// StuckSince is when something was last delivered, acked or extended, or the backlog
	// began; zero if there is no backlog.
	StuckSince time.Time
	Detached   bool

	// for AtLeastOnce
	Unacked      int
	UnackedBytes int
	// for the subscription, or the group
	DeadLetters        int // waiting to be taken
	DeadLettersTotal   uint64
	DeadLettersDropped uint64
}

// Lag is what is before a cursor; for a member of a group, what is before the group and
// what the member was given. Exact is false while the cursor reads the ring, messages of
// all subscriptions being counted then.
type Lag struct {
	Messages uint64
	Bytes    uint64
	Age      time.Duration // how old the oldest is
	Exact    bool
}

// Stats returns the state of the cursor.
func (c *Cursor) Stats(now time.Time) Stats {
	s := c.share
	s.log.mu.Lock()
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.log.since(now)
	r := Stats{
		Lag: s.feed.lag(at), Messages: c.counts.messages, Bytes: c.counts.bytes,
		Gaps: c.counts.gaps, UnknownGaps: c.counts.unknown, Detached: c.detached != 0,
		DeadLetters: len(s.dead.list), DeadLettersTotal: s.dead.total, DeadLettersDropped: s.dead.dropped,
	}
	if c.window != nil {
		r.Unacked, r.UnackedBytes = c.window.list.n, c.window.bytes
	}
	s.log.mu.Unlock()
	if s.group != nil {
		r.Lag.Messages += uint64(s.group.back.len() + len(c.tasks))
		looked := 0
		s.steps(func() bool { return c.addTasks(&r.Lag, &looked, at) })
	}
	if r.Lag.Messages > 0 && s.group == nil || len(c.tasks) > 0 {
		r.StuckSince = s.log.time(c.progress)
	}
	return r
}

// addTasks adds how large and how old the messages are that a member was given and that the ring
// has, behind those that were looked at, at most stepsAtOnce at a time; more reports that there are
// others.
func (c *Cursor) addTasks(lag *Lag, looked *int, at int64) (more bool) {
	from, to := min(*looked, len(c.tasks)), min(*looked+stepsAtOnce, len(c.tasks))
	for _, t := range c.tasks[from:to] {
		if e, _ := c.share.log.ring.at(t.seq); e != nil {
			lag.Bytes += uint64(e.size)
			lag.Age = max(lag.Age, time.Duration(at-e.at))
		}
	}
	*looked = to
	return to < len(c.tasks)
}

// lag is called with the log's lock held too.
func (f *feed) lag(now int64) Lag {
	lag := Lag{Messages: uint64(f.queued), Bytes: uint64(f.bytes) * sizeUnit, Exact: true}
	ring := &f.log.ring
	if f.latest != nil {
		lag.Messages = uint64(f.latest.n)
	}
	least, unread := uint64(maxVarint), ring.end.Load()
	for i := range f.lanes {
		if f.latest != nil && i != laneNormal {
			continue
		}
		l := &f.lanes[i]
		if l.queue.n > 0 || f.latest != nil && f.latest.n > 0 || !l.live {
			least = min(least, f.pending(i))
		}
		if !l.live {
			unread = min(unread, max(l.next, ring.first.Load()))
		}
	}
	if unread < ring.end.Load() && (f.search == nil) {
		lag.Exact = false
		lag.Messages += ring.end.Load() - unread
		if b := ring.find(unread); b != nil {
			lag.Bytes += ring.written - b.written
		}
	}
	if e, _ := ring.at(least); e != nil {
		lag.Age = time.Duration(now - e.at)
	}
	return lag
}

// LogStats is the state of a log.
type LogStats struct {
	First, Next   uint64 // numbers: the oldest in the ring, and that of the next message
	Bytes         int    // what the ring holds, its bookkeeping included
	Topics        int    // topics that have a number
	Subscriptions int    // groups counting as one
	Sessions      int
	DeadLetters   uint64 // from subscriptions that have ended, dropped before they were taken
	Unacked       int    // what it takes to keep the messages that wait for acks, in bytes
	Throttled     uint64 // times that a subscription waited because its part of Options.Unacked was in use
	Backlog       int    // what backlogs take, in bytes, as far as it is counted
	Crowded       uint64 // times that a backlog could not grow because its subscriber's part of Options.Backlog was in use
}

// Stats returns the state of the log.
func (l *Log) Stats() LogStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return LogStats{
		First: l.ring.first.Load(), Next: l.ring.end.Load(), Bytes: l.ring.held,
		Topics: len(l.topics.byID), Subscriptions: len(l.shares), Sessions: len(l.sessions), DeadLetters: l.dead.dropped,
		Unacked: int(l.unacked.Used()), Throttled: l.throttled.Load(),
		Backlog: int(l.backlogs.Used()), Crowded: l.crowded.Load(),
	}
}
