package journal

// nextTask finds what comes next for a member of a group.
func (c *Cursor) nextTask(at int64) state {
	s := c.share
	if !s.reclaim(c, at) {
		return busy
	}
	what := s.dispatch(at, true)
	for len(c.tasks) > 0 {
		t := &c.tasks[0]
		if t.gap != nil {
			return told
		}
		if d := t.delivery; d != nil {
			if d.expires != 0 && at >= d.expires {
				t := c.popTask()
				s.uncount(&t)
				s.died(c, d, DeadExpired)
				s.release(d.hash)
				c.ready.Set()
				continue
			}
			c.head = d.head()
		} else {
			f := &s.feed
			f.seq = t.seq
			f.entry, f.slab = s.log.ring.at(t.seq)
			if why := f.unfit(at); why != 0 {
				s.release(t.hash)
				t.gap = &Gap{Lane: int(t.lane), Reason: why, From: t.seq, To: t.seq, Count: 1}
				c.backlog.add(gapCost)
				return told
			}
			c.head = head{seq: t.seq, topic: f.entry.topic, clock: f.entry.clock, record: f.entry.record(f.slab), size: f.entry.size}
		}
		if c.window != nil && !c.window.room(c.head.size) {
			return full
		}
		return some
	}
	if what == busy {
		return busy
	}
	return none
}

func (c *Cursor) popTask() task {
	t := c.tasks[0]
	c.tasks[0] = task{}
	c.tasks = c.tasks[1:]
	c.full = false
	c.uncount(&t)
	c.emptied()
	return t
}

// uncount notes that the backlog of a member no longer has the gap of a task.
func (c *Cursor) uncount(t *task) {
	if t.gap != nil {
		c.backlog.add(-gapCost)
	}
}

// takeTask takes the head, and returns the number of this delivery, 1 for the first.
func (c *Cursor) takeTask(at int64) (attempt int) {
	s := c.share
	t := c.popTask()
	c.progress = at
	c.credit = max(c.credit-1, 0)
	switch f := &s.feed; {
	case t.delivery != nil:
		s.uncount(&t)
		c.window.insert(t.delivery)
		return c.window.again(t.delivery, at)
	case c.window != nil:
		c.window.add(t.seq, f.entry, f.slab, at)
	default:
		c.fly(&t)
	}
	return 1
}

func (c *Cursor) takeGapTask() Gap {
	g := *c.popTask().gap
	if c.window == nil {
		c.heardOf(g)
	}
	return g
}
