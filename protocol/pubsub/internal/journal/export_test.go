package journal

import (
	"slices"
	"time"

	pool "github.com/linkmesh/link/internal/share"
)

// What it costs to keep a message in a window, beside its record, and each failure.
const (
	DeliveryCost = deliveryCost
	AttemptCost  = attemptCost
)

// Looked is how many deliveries of its window were looked at for what the subscriber said.
func (c *Cursor) Looked() uint64 { return c.window.looked }

// StripOnce takes from a member what it has, as far as one step does, and returns how many
// messages it has left.
func (c *Cursor) StripOnce() int {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strip(c, 0, true)
	return c.window.list.n
}

// Leave is Close without its end, which is to be called: the others are to get what a member has left.
func (c *Cursor) Leave(now time.Time) (handOver func()) {
	l := c.share.log
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.close(c, l.since(now), true).handOver
}

// WhileLocked calls f while nobody can publish.
func (l *Log) WhileLocked(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// Crowd takes all of Options.Backlog that somebody may have.
func (l *Log) Crowd(who pool.Key) {
	h := l.backlogs.Holder(who)
	for n := l.backlogs.Limit(); n > 0; {
		if h.Take(n) != nil {
			n /= 2
		}
	}
}

// TellOnce tells of gaps that come next, as far as one step does, and returns how many are left
// to be told.
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

// LookOnce looks at what a member was given, as far as one step of Stats does, and returns the bytes
// of what it has looked at.
func (c *Cursor) LookOnce() uint64 {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	var lag Lag
	looked := 0
	c.addTasks(&lag, &looked, 0)
	return lag.Bytes
}

// GapsMovedByTaking returns how many gaps change their places when as many are told one by one.
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

// GapList is a list of gaps beside one that is kept the simple way.
type GapList struct {
	g    gaps
	want []Gap
}

// Put puts a gap in a place, and Cut takes one out. Both return whether the list is what it
// should be.
func (l *GapList) Put(at int, g Gap) bool {
	l.g.put(at, g)
	l.want = slices.Insert(l.want, at, g)
	return slices.Equal(l.g.all(), l.want)
}

func (l *GapList) Cut(at int) bool {
	l.g.cut(at)
	l.want = slices.Delete(l.want, at, at+1)
	return slices.Equal(l.g.all(), l.want)
}

// Len is how many there are.
func (l *GapList) Len() int { return len(l.want) }
