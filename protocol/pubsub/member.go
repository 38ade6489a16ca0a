package pubsub

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// member is one publisher of a subscription.
type member struct {
	service string
	id      string
	topic   string // in spans
	acks    bool
	credit  int           // of a member of a group: messages it is trusted with; 0: no group
	leaving atomic.Bool   // discovery shows it no more
	settled chan struct{} // closed when it has answered, or failed to, for the first time
	once    sync.Once

	mu      sync.Mutex // guards the fields below
	want    subscribe
	tracker *journal.Tracker
	pending verdict
	out     map[uint64]held // delivered, and neither acked nor given up
	session int             // counts those that the publisher did not resume
	wake    chan struct{}
	conn    *conn // the present one
	last    *conn // the present one, or the one before; nil before the first
	open    bool  // it was heard, and did not say that this was all
	taken   int   // messages read on it since credit was given
	failure error // of the last connection
	count   tally

	// of the goroutine that reads the subscription: whether it takes messages of a path
	decided   map[string]bool
	decidedBy *func(Access) error
}

// held is a message of AtLeastOnce that its publisher has not let go of.
type held struct {
	ttl   time.Duration
	nacks int
	back  bool      // it was given back, and is to come again
	until time.Time // when it does not come again any more; zero is never
}

func newMember(service, id string, want *subscribe, late bool) *member {
	m := &member{
		service: service, id: id, want: *want, acks: Class(want.Class) == AtLeastOnce,
		settled: make(chan struct{}), wake: make(chan struct{}, 1), out: make(map[uint64]held),
		tracker: journal.NewTracker(journal.Class(want.Class), journal.Position{}),
	}
	if want.Group != "" {
		m.credit = max(want.Credit, 0)
		if m.credit == 0 {
			m.credit = journal.DefaultMemberCredit
		}
	}
	if late && want.Start == startNew {
		m.want.Start = startAll // it appeared while we listened: its first message is new
	}
	return m
}

// waits notes that the publisher has nothing to subscribe to yet: its first message will
// be new.
func (m *member) waits() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.want.Start == startNew {
		m.want.Start = startAll
	}
}

func (m *member) settle() { m.once.Do(func() { close(m.settled) }) }

// ask is what to subscribe with: where the subscription was, if it was anywhere.
func (m *member) ask() *subscribe {
	m.mu.Lock()
	defer m.mu.Unlock()
	ask := m.want
	if p := m.positionLocked(); p.Epoch != 0 {
		ask.Start, ask.Position = startAt, p.Append(nil)
	}
	return &ask
}

// positionLocked is how far the subscription has come, of no epoch if that is not known.
// With acks it counts only if the session is gone: then everything comes again that was
// not acked, and what is to come again in any case.
func (m *member) positionLocked() journal.Position {
	p := m.tracker.Position()
	for seq, h := range m.out {
		if h.back && !h.until.IsZero() && time.Now().After(h.until) {
			delete(m.out, seq)
			continue
		}
		for lane := range p.Seq {
			p.Seq[lane] = min(p.Seq[lane], seq-1)
		}
	}
	return p
}

// joined takes in a publisher's answer.
func (m *member) joined(c *conn, ask *subscribe, a *subscribed) {
	m.mu.Lock()
	if !a.Resumed {
		m.session++
		clear(m.out)
		m.pending = verdict{}
		m.beginLocked(ask, a)
	}
	c.session, c.epoch = m.session, a.Epoch
	m.conn, m.last, m.open, m.taken = c, c, true, 0
	m.pending.Credit = 0
	m.mu.Unlock()
	m.settle()
}

// beginLocked notes where the subscription begins, for its connection may be lost before
// anything is read. Where it cannot be known it stays unknown, and the subscription
// begins once more.
func (m *member) beginLocked(ask *subscribe, a *subscribed) {
	var before uint64 // the first message
	switch {
	case m.acks && ask.Start == startAt: // what is to come again is ahead once more
		if p, _, err := journal.ParsePosition(ask.Position); err == nil {
			m.tracker = journal.NewTracker(journal.Class(m.want.Class), p)
		}
		return
	case m.tracker.Position().Epoch != 0:
		return
	case ask.Start == startNew:
		before = max(a.Live, 1) - 1
	case ask.Start == startAll:
	case ask.Start == startSeq:
		before = max(min(ask.Seq, a.Live), 1) - 1
	default:
		return
	}
	m.goOn(journal.Position{Epoch: a.Epoch, Seq: [journal.Lanes]uint64{before, before, before}})
}

// goOn makes a position that of the subscription.
func (m *member) goOn(p journal.Position) {
	m.tracker = journal.NewTracker(journal.Class(m.want.Class), p)
}

// lost notes that there is no connection at the moment, and why.
func (m *member) lost(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn, m.failure = nil, err
	if errors.Is(err, io.EOF) {
		m.open = false
	}
	if link.CodeOf(err) == link.ResourceExhausted {
		m.settle() // it takes longer than a caller waits
	}
}

// full returns why the publisher has no room for the subscription, nil if that is not
// what keeps it away.
func (m *member) full() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn == nil && link.CodeOf(m.failure) == link.ResourceExhausted {
		return m.failure
	}
	return nil
}

// cutShort returns the last connection of a publisher that did not end it in good order.
func (m *member) cutShort() *conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.open {
		return nil
	}
	return m.last
}

// observe takes note of a record and reports whether it is new.
func (m *member) observe(c *conn, rec *journal.Record) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.acks && c.session != m.session {
		m.count.add(rec, true)
		return true // it comes again, and that counts
	}
	if !c.begun {
		c.begun = true
		m.tracker.Restart(c.epoch) // what is of an earlier epoch was read before
	}
	fresh := m.tracker.Observe(rec)
	m.count.add(rec, fresh)
	if rec.Kind == journal.KindMessage && m.credit > 0 && c == m.conn {
		m.tookLocked()
	}
	if !m.acks {
		return fresh
	}
	if rec.Kind == journal.KindMessage {
		h := m.out[rec.Seq]
		h.ttl, h.back = rec.TTL, false
		m.out[rec.Seq] = h
	}
	return true // it may come again on purpose
}

// tookLocked gives a quarter of the credit back when it was read.
func (m *member) tookLocked() {
	m.taken++
	if m.taken >= max(m.credit/4, 1) {
		m.pending.Credit += m.taken
		m.taken = 0
		m.signal()
	}
}

func (m *member) ack(c *conn, seq uint64) {
	m.judge(c, seq, func(v *verdict, _ *held) bool {
		v.addAck(seq, seq)
		return false
	})
}

// ackThrough acks what was delivered in the session of a message, up to that.
func (m *member) ackThrough(c *conn, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.session == m.session {
		m.ackRangeLocked(0, seq)
	}
}

// ackRange acks what was delivered with numbers in a range.
func (m *member) ackRange(from, to uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ackRangeLocked(from, to)
}

func (m *member) ackRangeLocked(from, to uint64) {
	var first, last uint64
	for seq, h := range m.out {
		if seq < from || seq > to || h.back {
			continue
		}
		if first == 0 || seq < first {
			first = seq
		}
		last = max(last, seq)
		delete(m.out, seq)
	}
	if first > 0 {
		m.pending.addAck(first, last)
		m.signal()
	}
}

func (m *member) nack(c *conn, seq uint64, delay time.Duration, cause string) {
	d := uint64(0)
	if delay >= 0 {
		d = uint64(delay.Microseconds()) + 1
	}
	cause = strings.ToValidUTF8(cause[:min(len(cause), maxCause)], "")
	m.judge(c, seq, func(v *verdict, h *held) bool {
		v.Nacks, v.Causes = append(v.Nacks, seq, d), append(v.Causes, cause)
		h.nacks++
		return h.nacks < journal.DefaultMaxDeliveries
	})
}

func (m *member) release(c *conn, seq uint64) {
	m.judge(c, seq, func(v *verdict, _ *held) bool {
		v.Releases = append(v.Releases, seq)
		return true
	})
}

// judge notes a verdict on a message that has none yet. add reports whether the message is
// to come again.
func (m *member) judge(c *conn, seq uint64, add func(v *verdict, h *held) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, open := m.out[seq]
	if !open || h.back || c.session != m.session {
		return
	}
	if add(&m.pending, &h) {
		h.back = true
		if h.ttl > 0 {
			h.until = time.Now().Add(h.ttl)
		}
		m.out[seq] = h
	} else {
		delete(m.out, seq)
	}
	m.signal()
}

func (m *member) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// report says verdicts, and extends the leases of messages without one, until ctx
// ends or say fails.
func (m *member) report(ctx context.Context, say func(v *verdict) error) {
	if !m.acks && m.credit == 0 {
		return
	}
	lease := time.Duration(m.want.Lease) * time.Microsecond
	if lease <= 0 {
		lease = journal.DefaultLease
	}
	ticker := time.NewTicker(lease / 3)
	defer ticker.Stop()
	for {
		var extend bool
		select {
		case <-m.wake:
		case <-ticker.C:
			extend = true
		case <-ctx.Done():
			return
		}
		m.mu.Lock()
		v := m.pending
		m.pending = verdict{}
		v.Alive = extend && m.acks
		m.mu.Unlock()
		for part := range v.parts() {
			if err := say(part); err != nil {
				return // the stream has ended, and what was not said is delivered again
			}
		}
	}
}
