package pubsub

import (
	"context"
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
	epoch   uint64 // of the publisher, 0 before it answered
	pending verdict
	out     map[uint64]struct{} // delivered and not yet settled
	wake    chan struct{}
	conn    *conn // the present one
	taken   int   // messages read on it since credit was given
	failure error // of the last connection
	count   tally

	// of the goroutine that reads the subscription: whether it takes messages of a path
	decided   map[string]bool
	decidedBy *func(Access) error
}

// conn is a member's connection while it lasts: a stream, or the publisher of this
// node itself.
type conn struct {
	member *member
	peer   link.Peer
	reader *journal.Reader
	live   uint64
	credit int                     // bytes that may be on their way
	grant  func(frames, bytes int) // lets more come
	reuse  func(body []byte)       // takes back what nothing refers to; nil: nobody does

	waiting               atomic.Int32 // frames that were not read
	owedFrames, owedBytes int          // of the goroutine that reads: read and not granted again
	cut                   func()       // ends it, to be made again
}

// read ends a frame. More may come, though not one for each that was read if others
// wait: a grant costs both sides as much as hundreds of messages.
func (c *conn) read(f *frames) {
	if !f.kept && c.reuse != nil {
		c.reuse(f.body)
	}
	if f.owed > 0 {
		c.owedFrames++
		c.owedBytes += f.owed
	}
	if c.owedFrames == 0 || c.waiting.Load() > 0 && c.owedFrames < creditFrames/4 && c.owedBytes < c.credit/4 {
		return
	}
	c.grant(c.owedFrames, c.owedBytes)
	c.owedFrames, c.owedBytes = 0, 0
}

func newMember(service, id string, want *subscribe, late bool) *member {
	m := &member{
		service: service, id: id, want: *want, acks: Class(want.Class) == AtLeastOnce,
		settled: make(chan struct{}), wake: make(chan struct{}, 1), out: make(map[uint64]struct{}),
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

func (m *member) settle() { m.once.Do(func() { close(m.settled) }) }

// ask is what to subscribe with: where the subscription was, if it was anywhere.
func (m *member) ask() *subscribe {
	m.mu.Lock()
	defer m.mu.Unlock()
	ask := m.want
	if m.epoch == 0 {
		return &ask
	}
	ask.Start, ask.Position = startAt, m.positionLocked().Append(nil)
	return &ask
}

// positionLocked is how far the subscription has come. With acks it counts only if
// the session is gone: then everything that has no verdict comes again.
func (m *member) positionLocked() journal.Position {
	p := m.tracker.Position()
	for seq := range m.out {
		for lane := range p.Seq {
			p.Seq[lane] = min(p.Seq[lane], seq-1)
		}
	}
	return p
}

// joined takes in a publisher's answer.
func (m *member) joined(c *conn, a *subscribed) {
	m.mu.Lock()
	m.epoch, m.conn, m.taken = a.Epoch, c, 0
	m.tracker.Restart(a.Epoch)
	if !a.Resumed {
		clear(m.out)
		m.pending = verdict{}
	}
	m.pending.Credit = 0
	m.mu.Unlock()
	m.settle()
}

// lost notes that there is no connection at the moment, and why.
func (m *member) lost(why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn, m.failure = nil, why
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

// observe takes note of a record and reports whether it is new.
func (m *member) observe(c *conn, rec *journal.Record) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := m.tracker.Observe(rec)
	m.count.add(rec, fresh)
	if rec.Kind == journal.KindMessage && m.credit > 0 && c == m.conn {
		m.tookLocked()
	}
	if !m.acks {
		return fresh
	}
	if rec.Kind == journal.KindMessage {
		m.out[rec.Seq] = struct{}{}
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

func (m *member) ack(seq uint64) { m.judge(seq, func(v *verdict) { v.addAck(seq, seq) }) }

// ackRange acks what was delivered with numbers in a range.
func (m *member) ackRange(from, to uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var first, last uint64
	for seq := range m.out {
		if seq < from || seq > to {
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

func (m *member) nack(seq uint64, delay time.Duration, cause string) {
	d := uint64(0)
	if delay >= 0 {
		d = uint64(delay.Microseconds()) + 1
	}
	cause = strings.ToValidUTF8(cause[:min(len(cause), maxCause)], "")
	m.judge(seq, func(v *verdict) { v.Nacks, v.Causes = append(v.Nacks, seq, d), append(v.Causes, cause) })
}

func (m *member) release(seq uint64) {
	m.judge(seq, func(v *verdict) { v.Releases = append(v.Releases, seq) })
}

// judge notes a verdict on a message that has none yet.
func (m *member) judge(seq uint64, add func(v *verdict)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, open := m.out[seq]; !open {
		return
	}
	delete(m.out, seq)
	add(&m.pending)
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
