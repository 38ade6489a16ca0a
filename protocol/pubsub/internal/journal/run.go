package journal

// run writes what follows the message that was just written, as long as nothing but
// plain messages come: that can be delivered, of topics that the stream knows, and of the
// only lane that has any. Most messages are plain, and records that lie side by side are
// copied at once. Where run stops, next decides.
func (c *Cursor) run(w *writer, at int64, maxMessages int) {
	f := &c.share.feed
	if c.share.group != nil || c.window != nil || f.latest != nil || !c.marked || !f.alone() {
		return
	}
	l := &f.lanes[f.at]
	end := f.log.ring.end.Load()
	var side span
	var in *block // where the last number was found
	begin, room := len(w.out), w.limit-len(w.out)
	n, last := 0, uint64(0)
	plain := c.head.topic // what is of it is the subscription's, and known on the stream
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

// alone reports whether no lane but the one that peek has found has anything.
func (f *feed) alone() bool {
	for i := range f.lanes {
		if i != f.at && !f.lanes[i].idle() {
			return false
		}
	}
	return f.lanes[f.at].gaps.len() == 0
}

// follow looks at the next number of a lane without gaps, which is below end if it is
// not in the queue. It remembers the block that it has found it in.
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

// span is records that lie side by side.
type span struct {
	slab     *slab
	from, to uint32
}

// add appends the records before if e does not lie behind them.
func (p *span) add(out []byte, s *slab, e *entry) []byte {
	if s != p.slab || e.off != p.to {
		out = p.end(out)
		p.slab, p.from = s, e.off
	}
	p.to = e.off + e.size
	return out
}

// end appends the records.
func (p *span) end(out []byte) []byte {
	if p.slab == nil {
		return out
	}
	return append(out, p.slab.b[p.from:p.to]...)
}
