package journal

// feed is what a subscription or a group has yet to get: for each lane a queue of
// numbers or a place in the ring. The lock of its share guards it.
type feed struct {
	log      *Log
	patterns []string
	keys     map[string]struct{} // nil means all
	class    Class
	overflow Overflow
	limits   Limits

	lanes   [Lanes]lane
	turn    [Lanes]int // messages that each lane may still send in this round of 8:4:1
	queued  int        // numbers in the queues
	bytes   int        // size of the queued messages, in units
	latest  *latest    // replaces the queues of a Latest subscription
	search  *search    // the search for the start, nil when it is done
	live    uint64     // the first number after the subscription
	backlog *backlog
	budget  int // ring entries that may still be looked at
	known   [16]verdict
	// told is for Latest: gaps below it have no count, as they may have been told before a resume.
	told uint64
	// behind is set when the next message of a Reliable subscription has left the ring, which ends it.
	behind bool

	next
}

// lane is one of the queues of a feed. Its messages with numbers below next are in the
// queue, in gaps, or done. While the lane is live, publishers push to the queue.
// Otherwise the feed reads the ring from next on, after the queue.
type lane struct {
	queue queue
	gaps  gaps
	next  uint64
	live  bool
}

// front returns the oldest number in the queue and its size, 0 if the queue is empty.
func (l *lane) front() (seq uint64, size int) {
	if l.queue.n == 0 {
		return 0, 0
	}
	return l.queue.front()
}

func (l *lane) idle() bool { return l.live && l.queue.n == 0 && l.gaps.len() == 0 }

// verdict caches whether a topic is the subscription's.
type verdict struct {
	topic *topic
	mine  bool
}

// state is what comes next.
type state uint8

const (
	none   state = iota
	some         // a message
	told         // a gap
	busy         // unknown, the budget is spent
	full         // a message, but too many are unacked
	failed       // the end, see feed.tooFar
)

// rounds returns how many messages each lane may send in a round.
func rounds() [Lanes]int { return [Lanes]int{8, 4, 1} }

// push takes a new message. queued is 1, or 0 if it was dropped; dropped counts it and older ones.
func (f *feed) push(seq uint64, e *entry) (queued, dropped int) {
	if f.latest != nil {
		return f.pushLatest(seq, e)
	}
	l := &f.lanes[e.lane]
	// The message will be read from the ring, or was read already.
	if !l.live || seq < l.next {
		return 1, 0
	}
	size := units(e.size)
	if f.class != BestEffort && f.queued >= liveQueue {
		l.live, l.next = false, seq
		return 1, 0
	}
	for f.class == BestEffort && f.over(size) {
		dropped++
		if !f.makeRoom(int(e.lane)) {
			return f.refuse(seq, e, dropped)
		}
	}
	if !f.room(&l.queue) {
		switch {
		case f.class != BestEffort:
			l.live, l.next = false, seq
			return 1, 0
		case f.overflow == DropNewest:
			return f.refuse(seq, e, 1)
		default:
			f.dropFront(l, int(e.lane), ReasonOverflow)
			dropped++
		}
	}
	l.queue.push(seq, size)
	l.next = seq + 1
	f.queued++
	f.bytes += size
	return 1, dropped
}

// refuse drops a new message.
func (f *feed) refuse(seq uint64, e *entry, dropped int) (int, int) {
	l := &f.lanes[e.lane]
	f.drop(int(e.lane), seq, ReasonOverflow, l.newest())
	l.next = seq + 1
	return 0, dropped
}

func (f *feed) over(size int) bool {
	return f.queued >= f.limits.Messages || (f.bytes+size)*sizeUnit > f.limits.Bytes
}

// makeRoom drops a queued message for a new one of a lane, or returns false if the new one has to go.
func (f *feed) makeRoom(of int) bool {
	if f.overflow == DropNewest {
		return false
	}
	for i := Lanes - 1; i >= of; i-- {
		if l := &f.lanes[i]; l.queue.n > 0 {
			f.dropFront(l, i, ReasonOverflow)
			return true
		}
	}
	return false
}

// newest returns the newest number in the queue, 0 if it is empty.
func (l *lane) newest() uint64 {
	if l.queue.n == 0 {
		return 0
	}
	return l.queue.last
}

func (f *feed) pop(l *lane) {
	_, size := l.queue.front()
	had := len(l.queue.items)
	if l.queue.pop(); len(l.queue.items) < had {
		f.backlog.grow(had*numberCost, 0)
	}
	f.queued--
	f.bytes -= size
}

// drop notes that one message is missing. after is as in [gaps.add].
func (f *feed) drop(i int, seq uint64, why Reason, after uint64) {
	g := Gap{Lane: i, Reason: why, From: seq, To: seq, Count: 1}
	if f.latest != nil {
		if seq < f.told {
			g.Count = 0
		}
		// All gaps of Latest come before the next message.
		f.lanes[i].gaps.join(g)
		return
	}
	f.lanes[i].gaps.add(g, after)
}

// dropFront drops the oldest message of a queue.
func (f *feed) dropFront(l *lane, i int, why Reason) {
	seq, _ := l.queue.front()
	f.pop(l)
	f.drop(i, seq, why, 0)
	// Messages that were to come again are told one by one.
	if f.class != BestEffort {
		return
	}
	next := uint64(never)
	if l.queue.n > 0 {
		next, _ = l.queue.front()
	}
	l.gaps.close(seq, next)
}

// peek finds what comes next. commit takes it if it is a message, popGap if it is a gap.
func (f *feed) peek(now int64) state {
	switch {
	case f.behind:
		return f.end()
	case f.search != nil && !f.lookBack(now):
		return busy
	case f.latest != nil:
		return f.peekLatest(now)
	}
	result := none
	for range 2 {
		for i := range f.lanes {
			if f.turn[i] == 0 || f.lanes[i].idle() {
				continue
			}
			s := f.peekLane(i, now)
			if s == some || s == told {
				f.at = i
				return s
			}
			if s == failed {
				f.behind = true
				return f.end()
			}
			if s == busy {
				result = busy
			}
		}
		f.turn = rounds()
	}
	return result
}

func (f *feed) peekLane(i int, now int64) state {
	l := &f.lanes[i]
	for {
		var s state
		if l.queue.n > 0 {
			s = f.peekQueue(l, i, now)
		} else if !l.live {
			s = f.scan(l, i, now)
			if s == none {
				l.live = true
			}
		}
		f.until = never
		if s == some || l.queue.n > 0 {
			f.until = f.seq
		}
		switch {
		case s == failed:
			return failed
		case l.gaps.before(f.until) > 0:
			return told
		case s == some || s == busy:
			return s
		case l.queue.n == 0 && l.live:
			return none
		}
	}
}

// peekQueue looks at the front of the queue, and turns messages that cannot be delivered
// into gaps on the way. It returns none when the queue is empty.
func (f *feed) peekQueue(l *lane, i int, now int64) state {
	for l.queue.n > 0 {
		f.seq, _ = l.queue.front()
		f.entry, f.slab = f.log.ring.at(f.seq)
		why := f.unfit(now)
		if why == 0 {
			return some
		}
		if f.entry == nil && f.class == Reliable {
			return failed
		}
		if f.budget == 0 {
			return busy
		}
		f.budget--
		f.dropFront(l, i, why)
	}
	return none
}

// unfit returns why the entry that was looked at cannot be delivered, 0 if it can.
func (f *feed) unfit(now int64) Reason {
	switch e := f.entry; {
	case e == nil || f.slab == f.log.hole:
		return ReasonRetention
	case e.expires != 0 && now >= e.expires:
		return ReasonExpired
	case f.limits.Age != 0 && f.seq >= f.live && now-e.at > int64(f.limits.Age):
		return ReasonOverflow
	default:
		return 0
	}
}

// commit takes the message that peek has found.
func (f *feed) commit() {
	if f.latest != nil {
		f.popLatest()
		return
	}
	f.turn[f.at]--
	f.advance(&f.lanes[f.at])
}

// gapsDue returns how many gaps come before the next message of the lane. They must be written
// together: their ranges may overlap, so some of them alone would move a subscriber too far.
func (f *feed) gapsDue() (n int) {
	if f.latest != nil {
		return f.lanes[f.at].gaps.len()
	}
	return f.lanes[f.at].gaps.before(f.until)
}

// popGap takes the gap that peek has found.
func (f *feed) popGap() Gap { return f.lanes[f.at].gaps.pop() }

// pending returns the least number of a lane that is not yet delivered or told.
func (f *feed) pending(i int) uint64 {
	l := &f.lanes[i]
	n := l.next
	if l.live {
		// All messages up to settled were pushed.
		n = max(n, f.log.settled.Load()+1)
	} else if f.latest == nil {
		end := f.log.ring.end.Load()
		if f.log.ring.lastOf[i].Load() < n {
			n = max(n, end)
			l.next = n
		}
	}
	if l.queue.n > 0 {
		seq, _ := l.queue.front()
		n = min(n, seq)
	}
	if f.latest != nil && f.latest.n > 0 {
		n = min(n, f.latest.front().first)
	}
	// Gaps are ordered by From, except those of Latest.
	for _, g := range l.gaps.all() {
		n = min(n, g.From)
		if f.latest == nil {
			break
		}
	}
	return n
}

// position returns how far the feed has come.
func (f *feed) position() Position {
	p := Position{Epoch: f.log.opts.Epoch}
	if f.search != nil {
		return p
	}
	for i := range p.Seq {
		p.Seq[i] = max(f.pending(f.laneFor(i)), 1) - 1
	}
	return p
}

// laneFor returns the lane of the feed that holds messages of lane i: Latest has only one.
func (f *feed) laneFor(i int) int {
	if f.latest != nil {
		return laneNormal
	}
	return i
}

// replayed reports whether everything from before the subscription is delivered or told.
func (f *feed) replayed() bool {
	if f.search != nil {
		return false
	}
	for i := range f.lanes {
		if f.pending(f.laneFor(i)) < f.live {
			return false
		}
	}
	return true
}

// end finds the gaps that come before the end of a feed that has fallen behind.
func (f *feed) end() state {
	for i := range f.lanes {
		l := &f.lanes[i]
		if l.gaps.len() == 0 {
			continue
		}
		if seq, _ := l.front(); seq == 0 || l.gaps.all()[0].From < seq {
			f.at, f.until = i, never
			if seq != 0 {
				f.until = seq
			}
			return told
		}
	}
	return failed
}

// tooFar returns the error of a feed that has fallen behind.
func (f *feed) tooFar() error {
	return &TooFarBehindError{Resume: f.position(), First: f.log.ring.first.Load()}
}
