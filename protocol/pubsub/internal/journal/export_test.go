package journal

import (
	"slices"
	"time"

	pool "github.com/linkmesh/link/internal/share"
)

// DeliveryCost is the bytes that it takes to keep a message in a window, besides its record.
// AttemptCost is the bytes that each failure adds.
const (
	DeliveryCost = deliveryCost
	AttemptCost  = attemptCost
)

// Looked returns how many deliveries in the window were looked at besides those that were meant.
func (c *Cursor) Looked() uint64 { return c.window.looked }

// StripOnce does one step of taking a member's messages from it, and returns how many it has
// left.
func (c *Cursor) StripOnce() int {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strip(c, 0, true)
	return c.window.list.n
}

// Leave is the first part of Close. The caller must call handOver, which gives what the member has
// left to the other members.
func (c *Cursor) Leave(now time.Time) (handOver func()) {
	l := c.share.log
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.close(c, l.since(now), true).handOver
}

// WhileLocked calls f with the log's lock held, so that nobody can publish.
func (l *Log) WhileLocked(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// Crowd takes all of the part of Options.Backlog that who may have.
func (l *Log) Crowd(who pool.Key) {
	h := l.backlogs.Holder(who)
	for n := l.backlogs.Limit(); n > 0; {
		if h.Take(n) != nil {
			n /= 2
		}
	}
}

// TellOnce does one step of writing the gaps that come next, and returns how many of them are
// left.
func (c *Cursor) TellOnce() int {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feed.budget = scanBudget
	s.feed.peek(0)
	n := c.gapsDue()
	c.writeGaps(&writer{}, &n)
	return n
}

// LookOnce does one step of what Stats does with the messages that a member was given, and returns the
// bytes of the messages it has looked at.
func (c *Cursor) LookOnce() uint64 {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	var lag Lag
	looked := 0
	c.addTasks(&lag, &looked, 0)
	return lag.Bytes
}

// GapsMovedByTaking returns how many gaps move in memory while n gaps are taken from a list one by one.
func GapsMovedByTaking(n uint64) (moved int) {
	var g gaps
	for i := range n {
		g.add(Gap{Reason: ReasonRetention, From: 2*i + 1, To: 2*i + 1, Count: 1}, 2*i)
	}
	for g.len() > 1 {
		second := &g.all()[1]
		g.pop()
		if &g.all()[0] != second {
			moved += g.len()
		}
	}
	return moved
}

// GapList is a list of gaps, and the same list as a plain slice.
type GapList struct {
	g    gaps
	want []Gap
}

// Put inserts a gap at an index, and reports whether the two lists are the same.
func (l *GapList) Put(at int, g Gap) bool {
	l.g.put(at, g)
	l.want = slices.Insert(l.want, at, g)
	return slices.Equal(l.g.all(), l.want)
}

// Cut removes the gap at an index, and reports whether the two lists are the same.
func (l *GapList) Cut(at int) bool {
	l.g.cut(at)
	l.want = slices.Delete(l.want, at, at+1)
	return slices.Equal(l.g.all(), l.want)
}

// Len returns the number of gaps.
func (l *GapList) Len() int { return len(l.want) }
