package pubsub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// member is one publisher of a subscription.
type member struct {
	id      string
	acks    bool
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
}

func newMember(id string, want *subscribe, late bool) *member {
	m := &member{
		id: id, want: *want, acks: Class(want.Class) == AtLeastOnce,
		settled: make(chan struct{}), wake: make(chan struct{}, 1), out: make(map[uint64]struct{}),
		tracker: journal.NewTracker(journal.Class(want.Class), journal.Position{}),
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
	// With acks this counts only if the session is gone: then everything that has no
	// verdict comes again.
	p := m.tracker.Position()
	for seq := range m.out {
		for lane := range p.Seq {
			p.Seq[lane] = min(p.Seq[lane], seq-1)
		}
	}
	ask.Start, ask.Position = startAt, p.Append(nil)
	return &ask
}

// joined takes in a publisher's answer.
func (m *member) joined(a *subscribed) {
	m.mu.Lock()
	m.epoch = a.Epoch
	m.tracker.Restart(a.Epoch)
	if !a.Resumed {
		clear(m.out)
		m.pending = verdict{}
	}
	m.mu.Unlock()
	m.settle()
}

// observe takes note of a record and reports whether it is new.
func (m *member) observe(rec *journal.Record) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	fresh := m.tracker.Observe(rec)
	if !m.acks {
		return fresh
	}
	if rec.Kind == journal.KindMessage {
		m.out[rec.Seq] = struct{}{}
	}
	return true // it may come again on purpose
}

func (m *member) ack(seq uint64) { m.judge(seq, func(v *verdict) { v.addAck(seq) }) }

func (m *member) nack(seq uint64, delay time.Duration) {
	d := uint64(0)
	if delay >= 0 {
		d = uint64(delay.Microseconds()) + 1
	}
	m.judge(seq, func(v *verdict) { v.Nacks = append(v.Nacks, seq, d) })
}

func (m *member) release(seq uint64) {
	m.judge(seq, func(v *verdict) { v.Releases = append(v.Releases, seq) })
}

// judge notes a verdict on a message that has none yet.
func (m *member) judge(seq uint64, add func(v *verdict)) {
	m.mu.Lock()
	_, open := m.out[seq]
	if open {
		delete(m.out, seq)
		add(&m.pending)
	}
	m.mu.Unlock()
	if open {
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
}

// addAck appends to the last range where it can.
func (v *verdict) addAck(seq uint64) {
	if n := len(v.Acks); n > 0 && v.Acks[n-1]+1 == seq {
		v.Acks[n-1] = seq
		return
	}
	v.Acks = append(v.Acks, seq, seq)
}

// report sends verdicts, and extends the leases of messages without one, until ctx
// ends.
func (m *member) report(ctx context.Context, st *link.Stream) {
	if !m.acks {
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
		if extend {
			for seq := range m.out {
				v.Extends = append(v.Extends, seq)
			}
		}
		m.mu.Unlock()
		if v.empty() {
			continue
		}
		f, err := frame(kindVerdict, &v)
		if err == nil {
			err = st.Send(f)
		}
		if err != nil {
			return // the stream has ended, and what was not said is delivered again
		}
	}
}
