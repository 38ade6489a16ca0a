package journal

import (
	"time"

	"github.com/linkmesh/link/internal/notify"
)

// Cursor is the place of one subscriber in the log. [Cursor.Fill] is for one goroutine
// at a time; the other methods are safe for concurrent use.
type Cursor struct {
	share *share
	id    string
	owner session
	ready notify.Flag

	// The lock of the share guards the fields below.

	// parked is set when Fill has found nothing: the next message signals ready.
	parked bool
	// blocked is set when Fill has found more than the window of AtLeastOnce allows.
	blocked bool
	closed  bool
	// marked is set when MARK(live) was written.
	marked bool
	// progress is when something was last delivered, acked or extended, or came to an
	// empty backlog.
	progress int64
	// told is the last number that the subscriber was told of.
	told uint64
	// known has, for each topic number, the turn that was introduced on the stream.
	known []uint32
	// clock is the last CLOCK on the stream.
	clock  uint32
	head   head
	counts counts

	membership
	forgotten *forgotten
	unsure    *unsure

	// answers counts the deliveries that were acked, nacked or released.
	answers uint64
	// window is nil if the class is not AtLeastOnce.
	window *window
	// detached is when the subscriber was disconnected, 0 if it is connected.
	detached int64
}

// membership is what a member of a group has.
type membership struct {
	// credit is how many messages a member may still be given.
	credit int
	// weight is a member's share of the keys.
	weight int
	// number identifies a member in its group.
	number uint64
	// tasks are what a member was given and has not taken.
	tasks []task
	// flight has the messages that a member of BestEffort was sent and is not known to have
	// read, oldest first.
	flight []flight
	// backlog counts what tasks and flight of a member take: taskRoom tasks, and flightRoom
	// flights.
	backlog  *backlog
	taskRoom int
	// full is set when tasks could not grow, until a task is taken.
	full       bool
	flightRoom int
}

// head is the message that comes next.
type head struct {
	seq   uint64
	topic *topic
	// clock is the CLOCK that the record's time counts from.
	clock  uint32
	record []byte
	// delivery is set for a redelivery.
	delivery *delivery
	size     uint32
}

// counts are the counters that Stats reports.
type counts struct {
	messages uint64
	bytes    uint64
	gaps     [Reasons]uint64
	unknown  uint64
}

// Ready returns a channel that receives when something has come after Fill has found
// nothing. It holds one signal, which may be stale.
func (c *Cursor) Ready() <-chan struct{} { return c.ready }

// wake signals a cursor that waits. The lock of the share is held; the signal does not block.
func (c *Cursor) wake() {
	if c.parked || c.blocked {
		c.parked, c.blocked = false, false
		c.ready.Set()
	}
}

// Idle reports whether Fill has found nothing and nothing has come since.
func (c *Cursor) Idle() bool {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.parked
}

// Live returns the number of the first message after the subscription. Messages with lower
// numbers are from before, or were published between disconnect and resume.
func (c *Cursor) Live() uint64 {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.feed.live
}

// Answered returns how many deliveries of the cursor were acked, nacked or released. A second
// answer to a delivery does not count.
func (c *Cursor) Answered() uint64 {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.answers
}

// Position returns how far Fill has come or, for AtLeastOnce, how far the acks have come.
// It has no meaning for a member of a group.
func (c *Cursor) Position() Position {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.feed.position()
	if c.window != nil {
		c.window.list.from(0, func(d *delivery) bool {
			p.Seq[d.lane] = min(p.Seq[d.lane], d.seq-1)
			return true
		})
	}
	return p
}

// Mark appends a MARK(progress) record to buf, which tells the subscriber how far it has
// come even if no message of its own was published.
func (c *Cursor) Mark(buf []byte) []byte {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	// A mark has no meaning for a member, and the gap of a restart must come before it.
	if s.group != nil || s.feed.search != nil || s.feed.pending(s.feed.laneFor(laneHigh)) == 0 {
		return buf
	}
	c.told = c.least()
	return appendMark(buf, Mark{MarkProgress, c.told})
}

// Close ends the subscription and its session because the subscriber asked for it. A member
// leaves its group: messages that it has not acked, or not read according to the credit that
// it gave back, go to the other members at once and do not count as failed. When the last
// cursor of an AtLeastOnce subscription closes, the log drops what it was still to get.
func (c *Cursor) Close(now time.Time) {
	l := c.share.log
	l.mu.Lock()
	left := l.close(c, l.since(now), true)
	l.mu.Unlock()
	left.handOver()
}

// close is Close with the log's lock held. alive is false if the subscriber was lost. The
// caller must call handOver on the result without holding that lock.
func (l *Log) close(c *Cursor, now int64, alive bool) (left *leaver) {
	s := c.share
	s.mu.Lock()
	if c.closed {
		s.mu.Unlock()
		return nil
	}
	c.closed = true
	c.ready.Set()
	if s.group != nil && !s.exit(c) {
		left = &leaver{c: c, at: now, alive: alive}
	} else {
		c.dropTasks()
		if c.window != nil {
			c.window.end()
		}
		c.backlog.end()
	}
	s.mu.Unlock()
	if c.id != "" && l.sessions[c.id] == c {
		delete(l.sessions, c.id)
		if c.owner.ended != nil {
			c.owner.ended()
		}
	}
	if left == nil {
		l.leave(s)
	}
	return left
}

// dropTasks drops what a member was given when there is no other member to take it.
func (c *Cursor) dropTasks() {
	for i := range c.tasks {
		c.share.uncount(&c.tasks[i])
		c.uncount(&c.tasks[i])
	}
	if c.backlog != nil {
		c.tasks = c.tasks[:0]
		c.emptied()
	}
}
