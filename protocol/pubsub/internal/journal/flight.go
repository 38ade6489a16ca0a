package journal

import (
	"slices"
	"time"
)

// flightMost is how many messages that are not known to be read are remembered for a member,
// 8 bytes each. Beyond that the older half is forgotten.
const flightMost = 1 << 16

// flight is the number of a message and, in its low bits, the slot of its key and its lane. The
// key stays with the member until the message is known to be read, or is forgotten.
type flight uint64

const (
	laneBits = 2
	// slotBits hold 0 for a message without a key, otherwise one more than the slot.
	slotBits = 11
)

func (f flight) seq() uint64 { return uint64(f >> (laneBits + slotBits)) }
func (f flight) lane() int   { return int(f & (1<<laneBits - 1)) }
func (f flight) slot() int   { return int(f >> laneBits & (1<<slotBits - 1)) }

// forgotten is what a member was sent before everything in flight, and is not known to have read.
type forgotten struct {
	n int
	// gaps have an unknown count. A lane has none if its To is zero.
	gaps [Lanes]Gap
}

// unsure has gaps that a member was told and is not known to have read. The gaps in before are read
// when left more messages are read; the gaps in behind came later.
type unsure struct {
	before, behind giveUp
	left           int
}

// fly notes that a message was sent to a member of BestEffort.
func (c *Cursor) fly(t *task) {
	c.remembers()
	slot := uint64(0)
	if t.hash != 0 {
		slot = uint64(t.hash%groupSlots) + 1
	}
	c.flight = append(c.flight, flight((t.seq<<slotBits|slot)<<laneBits|uint64(t.lane)))
	switch u := c.unsure; {
	case u == nil || u.left > 0:
	case u.behind.empty():
		// The member has read the gaps in before.
		c.unsure = nil
	default:
		u.before, u.behind, u.left = u.behind, giveUp{}, len(c.flight)
		if c.forgotten != nil {
			u.left += c.forgotten.n
		}
	}
}

// heardOf notes that a member of BestEffort was told of a gap.
func (c *Cursor) heardOf(g Gap) {
	if c.unsure == nil {
		c.unsure = new(unsure)
	}
	c.unsure.behind.once(g)
}

// all adds the gaps of others.
func (t *giveUp) all(others *giveUp) {
	for i := range others.gaps {
		for _, g := range others.gaps[i].all() {
			t.once(g)
		}
	}
}

func (t *giveUp) empty() bool {
	return !slices.ContainsFunc(t.gaps[:], func(g gaps) bool { return g.len() > 0 })
}

// once is add, except that it adds the gap of a restart only once.
func (t *giveUp) once(g Gap) {
	if g.From > 0 || !slices.Contains(t.gaps[g.Lane].all(), g) {
		t.add(g)
	}
}

// remembers makes room for one more flight. If there is none, it forgets the older half. A flight
// costs as much as a task: it becomes one when its member leaves, and cannot be refused then.
func (c *Cursor) remembers() {
	if len(c.flight) < cap(c.flight) {
		return
	}
	n := max(2*len(c.flight), queueStart)
	if len(c.flight) < flightMost && c.backlog.grow(c.flightRoom*taskCost, n*taskCost) {
		c.flight, c.flightRoom = append(make([]flight, 0, n), c.flight...), n
		return
	}
	all := c.flight
	c.forget(len(all) / 2)
	c.flight = all[:copy(all, c.flight)]
}

// forget replaces the numbers of the first n messages in flight by the gaps in c.forgotten.
func (c *Cursor) forget(n int) {
	if c.forgotten == nil {
		c.forgotten = new(forgotten)
	}
	c.forgotten.n += n
	for _, f := range c.flight[:n] {
		g := &c.forgotten.gaps[f.lane()]
		if g.To == 0 {
			*g = Gap{Lane: f.lane(), Reason: ReasonLost, From: f.seq()}
		}
		g.From, g.To = min(g.From, f.seq()), max(g.To, f.seq())
	}
	c.landed(n)
}

// landed ends the flight of the first n messages, and frees the list if there are no others.
func (c *Cursor) landed(n int) {
	for _, f := range c.flight[:n] {
		if slot := f.slot(); slot > 0 {
			c.share.group.slots[slot-1].out--
		}
	}
	if c.flight = c.flight[n:]; len(c.flight) == 0 {
		c.backlog.grow(c.flightRoom*taskCost, 0)
		c.flight, c.flightRoom = nil, 0
	}
}

// hasRead notes that a member has read its next n messages, and what came before them.
func (c *Cursor) hasRead(n int) {
	if u := c.unsure; u != nil {
		if u.left = max(u.left-n, 0); u.left == 0 {
			u.before = giveUp{}
		}
	}
	if f := c.forgotten; f != nil {
		old := min(n, f.n)
		if f.n, n = f.n-old, n-old; f.n == 0 {
			c.forgotten = nil
		}
	}
	c.landed(min(n, len(c.flight)))
}

// hasAll notes that a member has read, or will read, everything that it was sent.
func (c *Cursor) hasAll() {
	c.landed(len(c.flight))
	c.forgotten, c.unsure = nil, nil
}

// land ends the flight of messages that were sent to a member that has left, at most stepsAtOnce
// at a time, and reports whether none is left. If the member has said what it has read, the rest
// goes to the other members. They are told of a gap instead if the member was lost, or if a
// message is no longer kept or remembered.
func (s *share) land(t *leaver) bool {
	c := t.c
	s.landGaps(t)
	n := min(len(c.flight), stepsAtOnce)
	for _, f := range c.flight[:n] {
		seq, lane := f.seq(), f.lane()
		one := Gap{Lane: lane, Reason: ReasonLost, From: seq, To: seq, Count: 1}
		if t.alive {
			if e, _ := s.log.ring.at(seq); e != nil {
				s.group.back.push(task{seq: seq, hash: e.hash, lane: e.lane}, c.backlog)
				continue
			}
			one.Reason = ReasonRetention
		}
		if g := &t.missing[lane]; g.Count == 0 {
			*g = one
		} else {
			g.merge(one)
		}
	}
	if c.landed(n); len(c.flight) > 0 {
		return false
	}
	for _, g := range t.missing {
		if g.Count > 0 {
			s.tellOthers(c, g)
		}
	}
	t.missing = [Lanes]Gap{}
	return true
}

// landGaps tells the other members of what is forgotten, and of gaps that the member may not have
// read. A member that is alive has read its gaps if it has read all its messages.
func (s *share) landGaps(t *leaver) {
	c := t.c
	if u := c.unsure; u != nil && (!t.alive || c.forgotten != nil || len(c.flight) > 0) {
		u.before.all(&u.behind)
		for i := range u.before.gaps {
			for _, g := range u.before.gaps[i].all() {
				s.tellOthers(c, g)
			}
		}
	}
	if c.forgotten != nil {
		for _, g := range c.forgotten.gaps {
			if g.To > 0 {
				s.tellOthers(c, g)
			}
		}
	}
	c.forgotten, c.unsure = nil, nil
}

// tellOthers queues a gap for the members other than c, which has left.
func (s *share) tellOthers(c *Cursor, g Gap) {
	s.group.back.push(task{seq: g.From, gap: &g}, c.backlog)
}

// AddCredit says that a member of a group has room for more messages. Each message that Fill
// delivers uses up one. Keys are shared out by [Subscription.Credit], which does not change.
// A member never has more than [MaxCredit].
func (c *Cursor) AddCredit(messages int, now time.Time) {
	s := c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	c.credit = min(c.credit+min(max(messages, 0), MaxCredit), MaxCredit)
	if s.group != nil && !c.closed {
		c.hasRead(max(messages, 0))
		s.dispatch(s.log.since(now), false)
	}
}
