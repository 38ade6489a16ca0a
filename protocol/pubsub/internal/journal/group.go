package journal

import "slices"

// groupSlots is how many slots the keys of a group fall into by their hash. All keys of a
// slot go to one member. groupParked is how many messages a member is given for its keys
// beyond its credit, 32 bytes each, before the group waits for it. Up to that point, a member
// that hangs does not hold up the others.
const (
	groupSlots  = 1024
	groupParked = 1 << 16
)

// group has the members of a share. What the feed has goes to a member with credit as soon
// as there is one: it is added to the member's tasks, which its Fill takes.
type group struct {
	members []*Cursor
	// back has what members gave back. It goes before new messages.
	back  returned
	slots [groupSlots]slotHolder
	joins uint64
	draws uint64
	// handing is how many members are being stripped of their messages.
	handing int
}

// slotHolder is the member that has the keys of a slot. It keeps them while it is there,
// except that a member that joins takes its share of the slots that have no message out.
type slotHolder struct {
	holder *Cursor
	// joins is group.joins when the holder was found.
	joins uint64
	// out is how many messages of the slot members have.
	out int
}

// task is a message or a gap for a member.
type task struct {
	seq uint64
	// hash is the hash of the key, 0 if there is none.
	hash uint32
	lane uint8
	// delivery is nil for a new message.
	delivery *delivery
	gap      *Gap
}

func newGroup(l *Log, first *Cursor) *group {
	g := &group{back: newReturned(l)}
	g.add(first)
	return g
}

func (g *group) add(c *Cursor) {
	g.joins++
	c.number, c.weight = g.joins, c.credit
	g.members = append(g.members, c)
}

// enter adds a member. The log's lock is held.
func (s *share) enter(c *Cursor, now int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := allAtMost("members of a group", len(s.group.members)+1, MaxMembers); err != nil {
		return err
	}
	c.share = s
	s.group.add(c)
	s.dispatch(now, false)
	return nil
}

// exit removes a member, and reports whether it was the last one. If not, the caller must hand
// over what the member has.
func (s *share) exit(c *Cursor) bool {
	g := s.group
	g.members = slices.DeleteFunc(g.members, func(m *Cursor) bool { return m == c })
	if len(g.members) == 0 {
		return true
	}
	g.handing++
	return false
}

// leaver is a member that has left a group. missing has the gaps that the others must be told of.
type leaver struct {
	c       *Cursor
	at      int64
	alive   bool
	missing [Lanes]Gap
}

// handOver gives what a member has left behind to the others, in steps between which
// publishers can have the lock of the share. The log's lock must not be held. The group
// gives out nothing meanwhile, so that the messages of a key stay in order. A nil leaver has
// nothing to hand over.
func (t *leaver) handOver() {
	if t == nil {
		return
	}
	s := t.c.share
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps(func() bool { return !s.gone && (!s.land(t) || !s.strip(t.c, t.at, t.alive)) })
	t.c.dropTasks()
	t.c.backlog.end()
	if t.c.window != nil {
		t.c.window.end()
	}
	if s.group.handing--; !s.gone {
		s.dispatch(t.at, false)
	}
}

// replace puts a cursor in the place of the one whose session it resumes.
func (s *share) replace(old, c *Cursor, now int64) {
	g := s.group
	c.number, c.weight = old.number, old.weight
	g.members[slices.Index(g.members, old)] = c
	for i := range g.slots {
		if g.slots[i].holder == old {
			g.slots[i].holder = c
		}
	}
	s.dispatch(now, false)
}

// strip takes what a member has, for the others, at most stepsAtOnce at a time, and reports
// whether nothing is left to take. A member of the group keeps it if no other is connected.
// If alive is set, its deliveries do not count as failed.
func (s *share) strip(c *Cursor, now int64, alive bool) bool {
	g := s.group
	other := slices.IndexFunc(g.members, func(m *Cursor) bool { return m != c && m.detached == 0 })
	if other < 0 && slices.Contains(g.members, c) {
		return true
	}
	for i := range g.slots {
		if g.slots[i].holder == c {
			g.slots[i].holder = nil
		}
	}
	left := stepsAtOnce
	for ; len(c.tasks) > 0 && left > 0; left-- {
		t := c.popTask()
		if t.gap == nil {
			s.release(t.hash)
		}
		g.back.push(t, c.backlog)
	}
	if c.window == nil {
		return len(c.tasks) == 0
	}
	s.tellAgain(c)
	var host *window
	if other >= 0 {
		host = g.members[other].window
	}
	for d := c.window.list.first(); d != nil && left > 0; d = c.window.list.first() {
		left--
		// A delivery that may not be repeated is a dead letter now.
		if !s.disconnected(c, d, now, alive) {
			continue
		}
		c.window.remove(d)
		// A delivery that is not due yet waits in the window of another member.
		if d.due > now && host != nil && host.hosts(d) {
			d.order = never
			host.insert(d)
			host.retry(d, d.due)
			continue
		}
		s.release(d.hash)
		s.giveBack(c, d)
	}
	return left > 0
}

// giveBack gives the group a delivery that was removed from a member's window.
func (s *share) giveBack(c *Cursor, d *delivery) {
	d.keep()
	t := task{seq: d.seq, hash: d.hash, lane: d.lane, delivery: d}
	s.holder.Add(int64(d.cost()))
	s.group.back.push(t, c.backlog)
}

// uncount notes that the group no longer pays for the delivery of a task.
func (s *share) uncount(t *task) {
	if t.delivery != nil {
		s.holder.Give(int64(t.delivery.cost()))
	}
}

// reclaim takes deliveries that are due again from a member's window, so that any member may
// get them. It takes at most stepsAtOnce, and reports whether none is left.
func (s *share) reclaim(c *Cursor, at int64) bool {
	if c.window == nil {
		return true
	}
	for range stepsAtOnce {
		d, all := s.due(c, at)
		if d == nil {
			return all
		}
		c.window.remove(d)
		s.release(d.hash)
		s.giveBack(c, d)
	}
	return false
}

// release notes that a message with this hash of its key is no longer with a member.
func (s *share) release(hash uint32) {
	if s.group != nil && hash != 0 {
		s.group.slots[hash%groupSlots].out--
	}
}

func (s *share) done(d *delivery) { s.release(d.hash) }

// dispatch gives members the messages at hand, as far as they have credit. After stepsAtOnce
// messages it returns busy, and a member's Fill goes on. If look is set, dispatch may spend the
// budget of the feed; otherwise it leaves that to a member's Fill.
func (s *share) dispatch(at int64, look bool) state {
	g, f := s.group, &s.feed
	if !look {
		f.budget = 0
	}
	// What is being handed over goes before new messages.
	if g.handing > 0 {
		return none
	}
	given := 0
	for g.back.len() > 0 && given < stepsAtOnce {
		t := g.back.first()
		var avoid *Cursor
		if t.delivery != nil {
			avoid = t.delivery.avoid
		}
		var c *Cursor
		if t.gap != nil {
			c = g.connected()
		} else {
			c = g.choose(t.hash, avoid)
		}
		if c == nil {
			return none
		}
		g.back.pop()
		g.give(c, t, at)
		given++
	}
	for ; given < stepsAtOnce; given++ {
		what := f.peek(at)
		if what != some && what != told {
			if what == busy && !look {
				g.rouse()
			}
			return what
		}
		var c *Cursor
		if what == some {
			c = g.choose(f.entry.hash, nil)
		} else {
			c = g.connected()
		}
		if c == nil {
			return none
		}
		if what == some {
			f.commit()
			g.give(c, task{seq: f.seq, hash: f.entry.hash, lane: f.entry.lane}, at)
		} else {
			gap := f.popGap()
			g.give(c, task{seq: gap.From, gap: &gap}, at)
		}
	}
	if !look {
		g.rouse()
	}
	return busy
}

// rouse wakes one member that waits, whose Fill goes on with dispatch.
func (g *group) rouse() {
	for _, c := range g.members {
		if c.parked && c.detached == 0 {
			c.wake()
			return
		}
	}
}

func (g *group) give(c *Cursor, t task, at int64) {
	if t.gap == nil && t.hash != 0 {
		g.slots[t.hash%groupSlots].out++
	}
	if len(c.tasks) == 0 {
		c.progress = at
	}
	if t.gap != nil {
		c.backlog.add(gapCost)
	}
	c.tasks = append(c.tasks, t)
	c.wake()
}
