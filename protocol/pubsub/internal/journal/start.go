package journal

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/linkmesh/link/protocol/internal/varint"
)

// Start says where a subscription starts. The zero value is [StartNew].
type Start struct {
	kind startKind
	n    int
	at   Position
	time time.Time
	seq  uint64
	anew bool
}

type startKind uint8

const (
	startNew startKind = iota
	startAll
	startLast
	startKeys
	startAt
	startTime
	startSeq
	startFeed
)

// StartNew starts with the next message.
func StartNew() Start { return Start{} }

// StartAll starts with the oldest message in the ring.
func StartAll() Start { return Start{kind: startAll} }

// StartLast starts with the last n messages of the subscription that are in the ring
// and have not expired. n is at least 1.
func StartLast(n int) Start { return Start{kind: startLast, n: n} }

// StartLastPerKey starts with the newest message in the ring of each topic and key, in the
// order of their numbers. It covers the 65 536 topics and keys that were published to last.
func StartLastPerKey() Start { return Start{kind: startKeys} }

// StartAt continues after a position. Messages that have left the ring since are told as a
// gap whose count is unknown. If the log is in another epoch than the position, a gap says
// so, and the subscription starts with the oldest message.
func StartAt(p Position) Start { return Start{kind: startAt, at: p} }

// StartTime starts with the first message that was published at t or later. If messages
// from that time have left the ring, a gap says so.
func StartTime(t time.Time) Start { return Start{kind: startTime, time: t} }

// StartSeq starts with the message of this number in the current epoch of the log, or with
// the next message if this one was not published yet. Messages that have left the ring are
// told as a gap.
func StartSeq(seq uint64) Start { return Start{kind: startSeq, seq: max(seq, 1)} }

// StartFeed starts after the newest message of the subscription whose [Message.Feed] is
// at most feed. If that message has left the ring, a gap says so.
func StartFeed(feed uint64) Start { return Start{kind: startFeed, seq: feed} }

// Anew returns s for a subscriber that an earlier epoch may have had: a gap says that this is
// another epoch. A subscription that would start with the next message starts with the oldest
// instead, because the messages before the next may have been missed.
func (s Start) Anew() Start {
	s.anew = true
	if s.kind == startNew || s.kind == startAll {
		s.kind, s.at = startAt, Position{}
	}
	return s
}

// search is a walk back through the ring for the place to start.
type search struct {
	// next is the number to look at.
	next uint64
	// left is how many messages StartLast still looks for.
	left int
	// keys has what StartLastPerKey has found: topic, zero byte, key. It is nil for others.
	keys map[string]struct{}
	// feed is the feed number that StartFeed looks for. It is 0 for others.
	feed uint64
	// list has the last message of each key, newest first.
	list []uint64
}

// start sets the lanes of a new feed. The log's lock is held.
func (f *feed) start(s Start) error {
	ring := &f.log.ring
	first, end := ring.first.Load(), ring.end.Load()
	f.live = end
	f.turn = rounds()
	from := func(seq uint64) {
		for i := range f.lanes {
			f.lanes[i].next, f.lanes[i].live = seq, seq == end
		}
	}
	lost := func(i int, from uint64) {
		if from < first {
			f.lanes[i].gaps.add(Gap{Lane: i, Reason: ReasonRetention, From: from, To: first - 1}, 0)
		}
	}
	if s.anew && s.kind != startAt {
		f.tellRestart()
	}
	switch s.kind {
	case startNew:
		from(end)
	case startAll:
		from(first)
	case startLast:
		if s.n < 1 {
			return &OptionError{"StartLast", s.n, "must be at least 1"}
		}
		f.startFrom(end)
		f.search = &search{next: end - 1, left: s.n}
	case startKeys:
		f.startFrom(end)
		f.search = &search{next: end - 1, keys: make(map[string]struct{})}
	case startSeq:
		from(min(max(s.seq, first), end))
		lost(laneNormal, s.seq)
	case startFeed:
		f.startFrom(end)
		f.search = &search{next: end - 1, feed: max(s.seq, 1)}
	case startTime:
		at := f.log.since(s.time)
		from(ring.search(at))
		if first > 1 && at <= ring.left {
			lost(laneNormal, 1)
		}
	case startAt:
		if s.at.Epoch != f.log.opts.Epoch {
			f.tellRestart()
			lost(laneNormal, 1)
			from(first)
			return nil
		}
		return f.resume(s.at, first, end, lost)
	}
	return nil
}

// tellRestart adds a gap that says, before anything else, that this is another epoch.
func (f *feed) tellRestart() {
	// The gaps of the high lane come before anything else.
	i := laneHigh
	if f.latest != nil {
		i = laneNormal
	}
	f.lanes[i].gaps.add(Gap{Lane: i, Reason: ReasonRestart}, 0)
}

// resume starts each lane after its number in the position.
func (f *feed) resume(p Position, first, end uint64, lost func(lane int, from uint64)) error {
	for i := range f.lanes {
		l := &f.lanes[i]
		l.next = p.Seq[i] + 1
		if f.latest != nil {
			l.next = p.Least() + 1
		}
		last := f.log.ring.lastOf[i].Load()
		switch {
		case p.Seq[i] >= end:
			return &OptionError{"StartAt", fmt.Sprintf("%d in lane %d", p.Seq[i], i), "is of this epoch, and was not published yet"}
		case f.latest != nil && i != laneNormal, f.latest == nil && last < l.next:
			// The lane has no messages.
			l.next = end
		case l.next < first:
			lost(i, l.next)
			l.next = first
		}
		l.live = l.next == end
	}
	if f.latest != nil {
		f.told = end
	}
	return nil
}

// again queues messages from before a position in a feed that has not started: as many as can
// have waited for their acks. It returns gaps with the exact numbers of messages that are no
// longer kept, so that the subscriber knows which they are. It returns none if the position is
// of another epoch. It holds no lock: a few bytes ask for tens of thousands of messages, and
// looking at them must not stop publishers.
func (f *feed) again(list []Range, p Position) (gone []Gap, err error) {
	end := f.log.ring.end.Load()
	if p.Epoch != f.log.opts.Epoch {
		return nil, nil
	}
	if err := atMost("ranges of Subscription.Again", len(list), MaxAgain); err != nil {
		return nil, err
	}
	last, n := uint64(0), uint64(0)
	for _, r := range list {
		if r.From <= last || r.From > r.To || r.To >= end {
			return nil, &OptionError{"Subscription.Again", r, "does not ascend, or was not published yet"}
		}
		last, n = r.To, n+r.To-r.From+1
		if f.class != AtLeastOnce {
			return nil, &OptionError{"Subscription.Again", r, "is for at least once: other classes have no acks"}
		}
		if err := atMost("messages of Subscription.Again", int(min(n, math.MaxInt32)), max(f.limits.Messages, MaxAgain)); err != nil {
			return nil, err
		}
		for seq := r.From; seq <= r.To; seq++ {
			e, s := f.log.ring.at(seq)
			// Skip a message that is not the subscription's, or that will come.
			if e != nil && s != f.log.hole && (!f.wants(e, s) || seq > p.Seq[e.lane] || f.replay(seq)) {
				continue
			}
			if k := len(gone) - 1; k >= 0 && gone[k].To+1 == seq {
				gone[k].To, gone[k].Count = seq, gone[k].Count+1
			} else {
				gone = append(gone, Gap{Lane: laneNormal, Reason: ReasonRetention, From: seq, To: seq, Count: 1, exact: true})
			}
		}
	}
	return gone, nil
}

// lookBack continues the search as far as the budget allows, and reports whether the place
// to start is found.
func (f *feed) lookBack(now int64) bool {
	s := f.search
	done := false
	for ; !done; s.next-- {
		if f.budget == 0 {
			return false
		}
		f.budget--
		if s.next == 0 {
			break
		}
		e, slab := f.log.ring.at(s.next)
		// If the message has left the ring, all messages before it have left too.
		if e == nil {
			break
		}
		if slab == f.log.hole || !f.wants(e, slab) {
			continue
		}
		if s.feed != 0 {
			done = feedOf(e, slab) != 0 && feedOf(e, slab) <= s.feed
			if done {
				f.search = nil
				f.startFrom(s.next + 1)
				return true
			}
			continue
		}
		if s.keys == nil {
			if e.expires == 0 || now < e.expires {
				s.left--
				done = s.left == 0
			}
			continue
		}
		key := e.topic.name + "\x00" + string(e.keyIn(slab))
		if _, ok := s.keys[key]; !ok {
			s.keys[key] = struct{}{}
			s.list = append(s.list, s.next)
			done = len(s.list) == DefaultLatestKeys
		}
	}
	f.search = nil
	if s.feed != 0 && s.next > 0 {
		f.lanes[laneNormal].gaps.add(Gap{Lane: laneNormal, Reason: ReasonRetention, From: 1, To: s.next}, 0)
	}
	if s.keys == nil {
		f.startFrom(s.next + 1)
		return true
	}
	for _, seq := range slices.Backward(s.list) {
		if !f.replay(seq) {
			f.drop(laneNormal, seq, ReasonRetention, f.lanes[laneNormal].newest())
		}
	}
	f.startFrom(f.live)
	return true
}

// startFrom makes the lanes read the ring from a number on.
func (f *feed) startFrom(seq uint64) {
	for i := range f.lanes {
		f.lanes[i].next, f.lanes[i].live = seq, false
	}
}

// replay queues a message from before the subscription, and reports whether it is still in the
// ring.
func (f *feed) replay(seq uint64) bool {
	e, s := f.log.ring.at(seq)
	switch {
	case f.latest != nil && e != nil:
		f.putLatest(seq, e, s)
	case e != nil:
		q := &f.lanes[e.lane].queue
		if q.n == len(q.items) {
			f.backlog.need(len(q.items)*numberCost, q.longer()*numberCost)
		}
		q.push(seq, units(e.size))
		f.queued++
		f.bytes += units(e.size)
	}
	return e != nil
}

// feedOf reads the feed number from a record that the log has written.
func feedOf(e *entry, s *slab) uint64 {
	var rec Record
	body, _, _ := varint.CutBytes(e.record(s)[1:])
	rec.parse(body, 0)
	return rec.Feed
}
