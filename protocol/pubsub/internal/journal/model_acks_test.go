package journal_test

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// delivered enters a delivery of AtLeastOnce.
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
	if rec.Attempt < s.held[rec.Seq] || rec.Attempt > journal.DefaultMaxDeliveries {
		s.Errorf("%s: message %d comes as delivery %d after %d", s.name, rec.Seq, rec.Attempt, s.held[rec.Seq])
	}
	s.held[rec.Seq] = rec.Attempt
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

// settleSome acks, nacks, releases or extends some of what was delivered.
func (s *subscriber) settleSome() {
	c := s.choose
	seqs := slices.Sorted(maps.Keys(s.held))
	if len(seqs) == 0 {
		_, err := s.cur.Ack(s.now, journal.Range{From: 1, To: uint64(len(s.messages) + 10)})
		if _, ok := errors.AsType[*journal.NotSent](err); !ok {
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
		// A cumulative ack also covers what the subscriber does not hold any more.
		_, err := s.cur.AckThrough(s.now, seq)
		s.ack(err, seqs[:i+1]...)
		for n := uint64(1); n <= seq; n++ {
			if s.ledger.got[n] > 0 && !s.dead[n] {
				s.acked[n] = true
			}
		}
	case 2:
		j := i + c.below(len(seqs)-i)
		_, err := s.cur.Ack(s.now, journal.Range{From: seq, To: seqs[j]}, journal.Range{From: seqs[0], To: seqs[0]})
		s.ack(err, append([]uint64{seqs[0]}, seqs[i:j+1]...)...)
		for n := seq; n <= seqs[j]; n++ {
			if s.ledger.got[n] > 0 && !s.dead[n] {
				s.acked[n] = true
			}
		}
	case 3:
		if err := s.cur.Nack(s.now, seq, pick(c, -1, 0, time.Second), "no"); err != nil {
			s.Errorf("%s: nack of %d: %v", s.name, seq, err)
		}
	case 4:
		if err := s.cur.Release(s.now, seq); err != nil {
			s.Errorf("%s: release of %d: %v", s.name, seq, err)
		}
		s.held[seq] = 0 // the number of the delivery may come again
	case 5:
		if err := s.cur.Extend(s.now, seqs...); err != nil {
			s.Errorf("%s: extension of %v: %v", s.name, seqs, err)
		}
	default:
	}
	s.bury()
}

// bury takes the dead letters.
func (s *subscriber) bury() {
	for _, d := range s.cur.DeadLetters(100) {
		p := s.ledger.mine(d.Seq)
		if p == nil || string(d.Message.Payload) != p.payload || d.Message.Topic != p.topic || d.Message.Key != p.key || !d.Time.Equal(p.at) {
			s.Errorf("%s: dead letter %d is not what was published", s.name, d.Seq)
		}
		if s.acked[d.Seq] || s.dead[d.Seq] {
			s.Errorf("%s: dead letter %d is acked or dead already", s.name, d.Seq)
		}
		if d.Reason == journal.DeadDeliveries && len(d.History) < journal.DefaultMaxDeliveries || len(d.History) == 0 {
			s.Errorf("%s: dead letter %d after %v has a history of %d", s.name, d.Seq, d.Reason, len(d.History))
		}
		for _, a := range d.History {
			if a.Ended.Before(a.Sent) || a.Outcome == journal.Nacked != (a.Cause == "no") {
				s.Errorf("%s: dead letter %d has the attempt %+v", s.name, d.Seq, a)
			}
		}
		s.dead[d.Seq] = true
		delete(s.held, d.Seq)
	}
}

// ackAll reports whether there was anything to ack.
func (s *subscriber) ackAll() bool {
	s.bury()
	any := len(s.held) > 0
	for _, seq := range slices.Sorted(maps.Keys(s.held)) {
		_, err := s.cur.Ack(s.now, journal.Range{From: seq, To: seq})
		s.ack(err, seq)
	}
	return any
}

// settled checks that every message is acked, dead, or in a gap.
func (s *subscriber) settled() {
	g := s.ledger
	if st := s.cur.Stats(s.now); st.Unacked != 0 || st.Lag.Messages != 0 {
		s.Errorf("%s: all is acked, and %+v", s.name, st)
	}
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
