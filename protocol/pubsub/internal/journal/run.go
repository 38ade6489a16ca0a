package journal

// run writes the messages that follow the one that was just written, as long as they are
// plain: they can be delivered, the stream knows their topics, and no other lane has any. Most
// messages are plain, and records that lie side by side are copied at once. Where run stops,
// next goes on.
func (c *Cursor) run(w *writer, at int64, maxMessages int) {
	f := &c.share.feed
	if c.share.group != nil || c.window != nil || f.latest != nil || !c.marked || !f.alone() {
		return
	}
	l := &f.lanes[f.at]
	end := f.log.ring.end.Load()
	var side span
	// in is the block in which the last number was found.
	var in *block
	begin, room := len(w.out), w.limit-len(w.out)
	n, last := 0, uint64(0)
	// plain is a topic that the subscription wants and the stream knows.
	plain := c.head.topic
	for w.n+n < maxMessages && w.locked < lockedBytes && f.follow(l, end, &in) {
		e := f.entry
		if e == nil || e.size >= longRecord || int(e.size) > room || e.clock != c.clock {
			break
		}
		if e.topic != plain || int(e.lane) != f.at || f.keys != nil {
			if !c.knows(e.topic) || !f.mine(f.at) {
				break
			}
			plain = e.topic
		}
		if f.unfit(at) != 0 {
			break
		}
		f.advance(l)
		w.out = side.add(w.out, f.slab, e)
		room -= int(e.size)
		w.locked += int(e.size)
		last = f.seq
		n++
	}
	if n == 0 {
		return
	}
	w.out = side.end(w.out)
	w.n += n
	c.tell(last)
	c.counts.messages += uint64(n)
	c.counts.bytes += uint64(len(w.out) - begin)
}

// alone reports whether the lane that peek has found has no gaps, and the other lanes are idle.
func (f *feed) alone() bool {
	for i := range f.lanes {
		if i != f.at && !f.lanes[i].idle() {
			return false
		}
	}
	return f.lanes[f.at].gaps.len() == 0
}

// follow looks at the next number of a lane without gaps, and reports whether there is one. If
// it is not in the queue, it is below end. follow stores the block of the number in in.
func (f *feed) follow(l *lane, end uint64, in **block) bool {
	switch {
	case l.queue.n > 0:
		f.seq, _ = l.queue.front()
	case l.live || l.next >= end:
		return false
	default:
		f.seq = l.next
	}
	b := *in
	if b == nil || b.base != f.seq&^(blockSize-1) {
		if b = f.log.ring.find(f.seq); b == nil {
			f.entry, f.slab = nil, nil
			return true
		}
		*in = b
	}
	f.entry, f.slab = b.at(f.seq)
	return true
}

// advance takes the message that was looked at from its lane.
func (f *feed) advance(l *lane) {
	if l.queue.n > 0 {
		f.pop(l)
	} else {
		l.next = f.seq + 1
	}
}

// span is a run of records that lie side by side in a slab.
type span struct {
	slab     *slab
	from, to uint32
}

// add adds the record of e to the span. If it does not lie behind the others, add appends
// these to out first, and starts a new span.
func (p *span) add(out []byte, s *slab, e *entry) []byte {
	if s != p.slab || e.off != p.to {
		out = p.end(out)
		p.slab, p.from = s, e.off
	}
	p.to = e.off + e.size
	return out
}

// end appends the records of the span to out.
func (p *span) end(out []byte) []byte {
	if p.slab == nil {
		return out
	}
	return append(out, p.slab.b[p.from:p.to]...)
}
