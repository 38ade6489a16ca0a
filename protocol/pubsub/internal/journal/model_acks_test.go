package journal_test

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// delivered notes a delivery of AtLeastOnce, and checks it.
func (s *subscriber) delivered(rec *journal.Record) {
	if rec.Kind != journal.KindMessage {
		return
	}
	if s.acked[rec.Seq] {
		s.Errorf("%s: message %d was delivered after its ack", s.name, rec.Seq)
	}
	if s.dead[rec.Seq] {
		s.Errorf("%s: message %d was delivered after its death", s.name, rec.Seq)
	}
	// A resume forgives the delivery during which the connection was lost, and the leases that
	// ended since the subscriber was last heard of, which may be all of them.
	if most := journal.DefaultMaxDeliveries * (1 + s.resumes); rec.Attempt < s.held[rec.Seq] || rec.Attempt > most {
		s.Errorf("%s: message %d comes as delivery %d after %d", s.name, rec.Seq, rec.Attempt, s.held[rec.Seq])
	}
	s.held[rec.Seq] = rec.Attempt
	delete(s.owed, rec.Seq)
}

// gone notes that a gap covers messages that were to be delivered again.
func (s *subscriber) gone(g *journal.Gap) {
	for seq := range s.owed {
		exact := g.Count == g.To-g.From+1 || g.Lane == s.ledger.epoch.messages[seq-1].lane
		if g.From <= seq && seq <= g.To && exact {
			delete(s.owed, seq)
			delete(s.held, seq)
		}
	}
}

// answerable returns the numbers of the messages that the subscriber has and may answer.
func (s *subscriber) answerable() []uint64 {
	var list []uint64
	for _, seq := range slices.Sorted(maps.Keys(s.held)) {
		if !s.owed[seq] {
			list = append(list, seq)
		}
	}
	return list
}

func (s *subscriber) ack(err error, seqs ...uint64) {
	if err != nil {
		s.Errorf("%s: ack of %v: %v", s.name, seqs, err)
	}
	for _, seq := range seqs {
		s.acked[seq] = true
		delete(s.held, seq)
	}
}

// ackRange checks an ack of a range, which must not ack more messages than the subscriber has.
// Which messages it acks depends on leases that have ended, so the model still holds all of them.
func (s *subscriber) ackRange(err error, n int, from, to uint64) {
	if err != nil {
		s.Errorf("%s: ack of %d to %d: %v", s.name, from, to, err)
	}
	have := 0
	for seq := range s.held {
		if from <= seq && seq <= to {
			have++
		}
	}
	if n > have {
		s.Errorf("%s: an ack of %d to %d acks %d messages, and it has %d", s.name, from, to, n, have)
	}
}

// settleSome acks, nacks, releases or extends some of what was delivered.
func (s *subscriber) settleSome() {
	c := s.choose
	s.bury()
	seqs := s.answerable()
	if len(seqs) == 0 {
		_, err := s.cur.Ack(s.now, journal.Range{From: 1, To: uint64(len(s.messages) + 10)})
		if _, ok := errors.AsType[*journal.NotSentError](err); !ok {
			s.Errorf("%s: ack of what was never sent: %v", s.name, err)
		}
		return
	}
	i := c.below(len(seqs))
	seq := seqs[i]
	switch c.below(7) {
	case 0:
		_, err := s.cur.Ack(s.now, journal.Range{From: seq, To: seq})
		s.ack(err, seq)
	case 1:
		n, err := s.cur.AckThrough(s.now, seq)
		s.ackRange(err, n, 0, seq)
	case 2:
		j := i + c.below(len(seqs)-i)
		n, err := s.cur.Ack(s.now, journal.Range{From: seq, To: seqs[j]})
		s.ackRange(err, n, seq, seqs[j])
	case 3:
		if err := s.cur.Nack(s.now, seq, pick(c, -1, 0, time.Second), "no"); err != nil {
			s.Errorf("%s: nack of %d: %v", s.name, seq, err)
		}
	case 4:
		if err := s.cur.Release(s.now, seq); err != nil {
			s.Errorf("%s: release of %d: %v", s.name, seq, err)
		}
		// A released delivery does not count, so its number may come again.
		s.held[seq] = 0
	case 5:
		if err := s.cur.Extend(s.now, seqs...); err != nil {
			s.Errorf("%s: extension of %v: %v", s.name, seqs, err)
		}
	default:
	}
	s.bury()
}

// bury takes the dead letters of the subscription.
func (s *subscriber) bury() {
	for _, d := range s.cur.DeadLetters(journal.MaxDeadLetters) {
		s.died(&d)
	}
}

// buryAll takes the dead letters of all sessions and groups, including ended sessions.
func (w *world) buryAll() {
	for _, d := range w.log.DeadLetters(1 << 20) {
		for _, s := range w.subs {
			if s.name == d.Session {
				s.died(&d)
			}
		}
		for _, g := range w.groups {
			if g.sub.Group == d.Group {
				g.dead[d.Seq] = true
			}
		}
	}
}

// died notes a dead letter, and checks it.
func (s *subscriber) died(d *journal.DeadLetter) {
	p := s.ledger.mine(d.Seq)
	if p == nil || string(d.Message.Payload) != p.payload || d.Message.Topic != p.topic || d.Message.Key != p.key || !d.Time.Equal(p.at) {
		s.Errorf("%s: dead letter %d is not what was published", s.name, d.Seq)
	}
	if s.acked[d.Seq] || s.dead[d.Seq] {
		s.Errorf("%s: dead letter %d is acked %v or dead already %v: %v %+v", s.name, d.Seq, s.acked[d.Seq], s.dead[d.Seq], d.Reason, d.History)
	}
	failed := 0
	for _, a := range d.History {
		if a.Outcome != journal.Disconnected {
			failed++
		}
		if a.Ended.Before(a.Sent) || a.Outcome == journal.Nacked != (a.Cause == "no") {
			s.Errorf("%s: dead letter %d has the attempt %+v", s.name, d.Seq, a)
		}
	}
	if full := len(d.History) == journal.MaxHistory; d.Reason == journal.DeadDeliveries && failed != journal.DefaultMaxDeliveries && !full {
		s.Errorf("%s: dead letter %d has failed %d times", s.name, d.Seq, failed)
	}
	if _, had := s.held[d.Seq]; !had {
		s.ledger.unheard++
	}
	s.dead[d.Seq] = true
	delete(s.held, d.Seq)
	delete(s.owed, d.Seq)
}

// ackAll acks every message that can be answered, and reports whether the subscriber held any.
func (s *subscriber) ackAll() bool {
	s.bury()
	some := len(s.held) > 0
	for _, seq := range s.answerable() {
		_, err := s.cur.Ack(s.now, journal.Range{From: seq, To: seq})
		s.ack(err, seq)
	}
	return some
}

// settled checks that every message is acked, dead, or in a gap, and that nothing is left.
func (s *subscriber) settled() {
	if st := s.cur.Stats(s.now); st.Unacked != 0 || st.Lag.Messages != 0 {
		s.Errorf("%s: all is acked, and %+v", s.name, st)
	}
	s.accounted()
}

// accounted checks that every message is acked, dead, or in a gap, and that none is told twice.
func (s *subscriber) accounted() {
	g := s.ledger
	g.once(func(p *published) bool { return s.acked[p.seq] || s.dead[p.seq] })
	for i := range g.epoch.messages {
		p := &g.epoch.messages[i]
		if p.seq < g.from[p.lane] || !wants(&s.sub, p) {
			continue
		}
		acked, dead, told := s.acked[p.seq], s.dead[p.seq], g.covered(p.lane, p.seq, 0)
		if !acked && !dead && !told || acked && dead {
			s.Errorf("%s: message %d: acked %v, dead %v, told of %v", s.name, p.seq, acked, dead, told)
		}
	}
}
