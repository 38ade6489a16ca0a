package receive

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// Ack acks a message that came on c. It has no effect on one that was answered before, or in another
// session.
func (m *Member) Ack(c *Conn, seq uint64) {
	m.judge(c, seq, func(v *frame.Verdict, h *held) bool {
		v.AddAck(seq, h.order)
		return false
	})
}

// AckThrough acks the messages that were delivered in the session of c with numbers up to seq.
func (m *Member) AckThrough(c *Conn, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.session == m.session {
		m.ackRangeLocked(0, seq)
	}
}

// ackRange acks the messages that were delivered with numbers in a range.
func (m *Member) ackRange(from, to uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ackRangeLocked(from, to)
}

func (m *Member) ackRangeLocked(from, to uint64) {
	var list []frame.Answer
	for seq, h := range m.out {
		if seq < from || seq > to || h.back || h.owed {
			continue
		}
		list = append(list, frame.Answer{Seq: seq, Order: h.order})
		delete(m.out, seq)
	}
	if len(list) > 0 {
		slices.SortFunc(list, func(a, b frame.Answer) int { return cmp.Compare(a.Seq, b.Seq) })
		m.pending.AddAcks(list)
		m.wake.Set()
	}
}

// Nack has a message delivered again after a delay or, if that is negative, after the next pause of the
// subscription. Cause is kept for dead letters.
func (m *Member) Nack(c *Conn, seq uint64, delay time.Duration, cause string) {
	d := uint64(0)
	if delay >= 0 {
		d = uint64(delay.Microseconds()) + 1
	}
	cause = strings.ToValidUTF8(cause[:min(len(cause), frame.MaxCause)], "")
	m.judge(c, seq, func(v *frame.Verdict, h *held) bool {
		v.Nacks, v.Causes = append(v.Nacks, seq, d), append(v.Causes, cause)
		h.nacks++
		return h.nacks < journal.DefaultMaxDeliveries
	})
}

// Release has a message delivered again at once.
func (m *Member) Release(c *Conn, seq uint64) {
	m.judge(c, seq, func(v *frame.Verdict, _ *held) bool {
		v.Releases = append(v.Releases, seq)
		return true
	})
}

// judge notes a verdict on a message that has none yet. add appends the verdict and reports
// whether the message is to be delivered again.
func (m *Member) judge(c *Conn, seq uint64, add func(v *frame.Verdict, h *held) bool) {
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
func (m *Member) report(ctx context.Context, say func(v *frame.Verdict) error) {
	if !m.Acks && m.credit == 0 {
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
		m.pending = frame.Verdict{}
		v.Alive = extend && m.Acks
		m.mu.Unlock()
		for part := range v.Parts() {
			if err := say(part); err != nil {
				return
			}
		}
	}
}

// lastWords sends what is pending when the subscription ends: verdicts, and the number of
// messages that a member of a group has read. Forget gives up the durable name.
func (m *Member) lastWords(say func(v *frame.Verdict) error, forget bool) {
	m.mu.Lock()
	v := m.pending
	m.pending = frame.Verdict{}
	v.Forget = forget
	if m.credit > 0 {
		v.Credit += m.taken
		m.taken = 0
	}
	m.mu.Unlock()
	for part := range v.Parts() {
		if say(part) != nil {
			return
		}
	}
}

// deliveries are what came of a publisher.
type deliveries struct {
	// out has the messages that were delivered and not acked or given up; owed of them are yet to be redelivered.
	out  map[uint64]held
	owed int
	// read counts the deliveries of AtLeastOnce that were read, and told the gaps received in this session.
	read uint64
	told uint64
	// unread has the frames that were received, oldest first, including the one that is being read.
	unread []*frames
}

// held is a message of AtLeastOnce that is not acked. It is to be delivered again if its session has ended (owed), or
// if it was given back (back), but then not after until, unless that is zero.
type held struct {
	ttl   time.Duration
	order uint64 // number of the delivery, for verdicts
	nacks int
	lane  int
	back  bool
	owed  bool
	until time.Time
}
