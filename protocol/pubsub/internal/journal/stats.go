package journal

import (
	"time"

	"github.com/linkmesh/link/protocol/internal/varint"
)

// Stats is what a cursor has delivered, and what waits for it.
type Stats struct {
	Lag Lag
	// Messages and Bytes count the delivered messages and the bytes of their records. A
	// redelivery counts again.
	Messages uint64
	Bytes    uint64
	// Gaps counts the missing messages by [Reason], for gaps whose count is known.
	// UnknownGaps is the number of the other gaps.
	Gaps        [Reasons]uint64
	UnknownGaps uint64
	// StuckSince is when something was last delivered, acked or extended, or when the
	// backlog began. It is zero if there is no backlog.
	StuckSince time.Time
	Detached   bool

	// Unacked and UnackedBytes are for AtLeastOnce.
	Unacked      int
	UnackedBytes int
	// DeadLetters is how many dead letters of the subscription or group wait to be taken.
	DeadLetters        int
	DeadLettersTotal   uint64
	DeadLettersDropped uint64
}

// Lag is what waits for a cursor. For a member of a group, it is what waits for the group
// and what the member was given.
type Lag struct {
	Messages uint64
	Bytes    uint64
	// Age is the age of the oldest message.
	Age time.Duration
	// Exact is false while the cursor reads the ring: the messages of all subscriptions
	// are counted then.
	Exact bool
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

// addTasks adds the size and the age of messages that a member was given and that are in the
// ring. It looks at the next stepsAtOnce tasks from looked on; more reports whether others are
// left.
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

// lag returns the lag of the feed. The log's lock is held too.
func (f *feed) lag(now int64) Lag {
	lag := Lag{Messages: uint64(f.queued), Bytes: uint64(f.bytes) * sizeUnit, Exact: true}
	ring := &f.log.ring
	if f.latest != nil {
		lag.Messages = uint64(f.latest.n)
	}
	least, unread := uint64(varint.Max), ring.end.Load()
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
	// First is the oldest number in the ring, and Next is the number of the next message.
	First, Next uint64
	// Bytes is the size of the ring, including its bookkeeping.
	Bytes int
	// Topics is how many topics have a number.
	Topics int
	// Subscriptions counts a group as one.
	Subscriptions int
	Sessions      int
	// DeadLetters counts dead letters of ended subscriptions that were dropped before they
	// were taken.
	DeadLetters uint64
	// Unacked is how many bytes it takes to keep the messages that wait for acks.
	Unacked int
	// Throttled counts how often a subscription waited because its part of Options.Unacked
	// was in use.
	Throttled uint64
	// Backlog is how many bytes the backlogs take, as far as they are counted.
	Backlog int
	// Crowded counts how often a backlog could not grow because its subscriber's part of
	// Options.Backlog was in use.
	Crowded uint64
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
