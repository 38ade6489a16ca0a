package pubsub

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

func (m *member) ack(c *conn, seq uint64) {
	m.judge(c, seq, func(v *verdict, h *held) bool {
		v.addAck(seq, h.order)
		return false
	})
}

// ackThrough acks the messages that were delivered in the session of c with numbers up to seq.
func (m *member) ackThrough(c *conn, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.session == m.session {
		m.ackRangeLocked(0, seq)
	}
}

// ackRange acks the messages that were delivered with numbers in a range.
func (m *member) ackRange(from, to uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ackRangeLocked(from, to)
}

func (m *member) ackRangeLocked(from, to uint64) {
	var list []answer
	for seq, h := range m.out {
		if seq < from || seq > to || h.back || h.owed {
			continue
		}
		list = append(list, answer{seq, h.order})
		delete(m.out, seq)
	}
	if len(list) > 0 {
		slices.SortFunc(list, func(a, b answer) int { return cmp.Compare(a.seq, b.seq) })
		m.pending.addAcks(list)
		m.wake.Set()
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

// judge notes a verdict on a message that has none yet. add appends the verdict and reports
// whether the message is to be delivered again.
func (m *member) judge(c *conn, seq uint64, add func(v *verdict, h *held) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, open := m.out[seq]
	if !open || h.back || h.owed || c.session != m.session {
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
	m.wake.Set()
}

// report sends verdicts, and extends the leases of messages without one, until ctx ends or
// say fails. Verdicts that were not sent because the stream has ended need no retry: the
// messages are delivered again.
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
				return
			}
		}
	}
}

// lastWords sends what is pending when the subscription ends: verdicts, and the number of
// messages that a member of a group has read. Forget gives up the durable name.
func (m *member) lastWords(say func(v *verdict) error, forget bool) {
	m.mu.Lock()
	v := m.pending
	m.pending = verdict{}
	v.Forget = forget
	if m.credit > 0 {
		v.Credit += m.taken
		m.taken = 0
	}
	m.mu.Unlock()
	for part := range v.parts() {
		if say(part) != nil {
			return
		}
	}
}
