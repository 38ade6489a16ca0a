package journal

import "time"

// Cursor is the place of one subscriber in the log. [Cursor.Fill] is for one goroutine
// at a time; the other methods are safe for concurrent use.
type Cursor struct {
	share *share
	id    string
	owner session
	ready chan struct{}

	// guarded by the lock of the share
	parked     bool // Fill has found nothing: the next message signals ready
	blocked    bool // Fill has found more than the window of AtLeastOnce allows
	closed     bool
	marked     bool     // MARK(live) was written
	progress   int64    // when something was delivered or answered last, or came to an empty backlog
	told       uint64   // the last number that the subscriber was told of
	known      []uint32 // per number of a topic: its turn that was introduced on the stream
	clock      uint32   // the last CLOCK on the stream
	head       head     // what comes next
	counts     counts
	credit     int      // for a member: messages that it may still be given
	weight     int      // for a member: its part of the keys
	number     uint64   // for a member: unique in the group
	tasks      []task   // for a member: what it was given and has not taken
	flight     []flight // for a member of BestEffort: what was sent and is not known to be read, oldest first
	backlog    *backlog // for a member: what tasks and flight take
	taskRoom   int      // for how many tasks that is
	full       bool     // there was no more room for tasks, and none was taken since
	flightRoom int
	forgotten  *forgotten // nil: nothing
	unsure     *unsure    // nil: nothing
	answers    uint64     // deliveries that were answered
	window     *window    // for AtLeastOnce; otherwise nil
	detached   int64      // when; 0: it is not
}

// head is a message that comes next.
type head struct {
	seq      uint64
	topic    *topic
	clock    uint32 // the clock that the record counts from
	record   []byte
	delivery *delivery // one more delivery of this, of AtLeastOnce
	size     uint32
}

// counts are what Stats reports.
type counts struct {
	messages uint64
	bytes    uint64
	gaps     [Reasons]uint64
	unknown  uint64
}

// Ready returns a channel that receives after Fill has found nothing and something has
// come. It holds one signal, and may hold one that is out of date.
func (c *Cursor) Ready() <-chan struct{} { return c.ready }

func (c *Cursor) signal() {
	select {
	case c.ready <- struct{}{}:
	default:
	}
}

// wake signals a cursor that waits. The lock is held; nobody blocks on the signal.
func (c *Cursor) wake() {
	if c.parked || c.blocked {
		c.parked, c.blocked = false, false
		c.signal()
	}
}

// Idle reports whether Fill has found nothing and nothing has come since.
func (c *Cursor) Idle() bool {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.parked
}

// Live returns the number of the first message after the subscription: messages below
// are from before, or were published between disconnect and resume.
func (c *Cursor) Live() uint64 {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.feed.live
}

// Answered returns how many deliveries of the cursor were acked, nacked or released. What is
// said of one again does not count.
func (c *Cursor) Answered() uint64 {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	return c.answers
}

// Position returns how far Fill has come; of AtLeastOnce, how far acks have. It is of
// no use for a member of a group.
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

// Mark appends a MARK(progress) record, from which the subscriber knows how far it has
// come, though no message of its own was published.
func (c *Cursor) Mark(buf []byte) []byte {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.group != nil || s.feed.search != nil || s.feed.pending(s.feed.laneFor(laneHigh)) == 0 {
		return buf // for a member it has no meaning; and of a restart the gap tells first
	}
	c.told = c.least()
	return appendMark(buf, Mark{MarkProgress, c.told})
}

// Close ends the subscription, and a session with it, because the subscriber says so. A
// member of a group leaves it: what it has not read, by the credit that it gave back, or
// not acked, goes to the others at once, which is not a failure. The log drops what
// an AtLeastOnce subscription was still to get when its last cursor closes.
func (c *Cursor) Close(now time.Time) {
	l := c.share.log
	l.mu.Lock()
	left := l.close(c, l.since(now), true)
	l.mu.Unlock()
	left.handOver()
}

// close is Close with the log's lock held. A subscriber that is not alive was lost. What it
// returns, if that is not nil, is to be handed over without that lock.
func (l *Log) close(c *Cursor, now int64, alive bool) (left *leaver) {
	s := c.share
	s.mu.Lock()
	if c.closed {
		s.mu.Unlock()
		return nil
	}
	c.closed = true
	c.signal()
	if s.group != nil && !s.exit(c) {
		left = &leaver{c: c, at: now, alive: alive}
	} else {
		c.dropTasks()
		if c.window != nil {
			c.window.end() // what is left in it is dropped
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

// dropTasks forgets what the last member of a group was given.
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
