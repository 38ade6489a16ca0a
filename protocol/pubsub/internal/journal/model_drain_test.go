package journal_test

import (
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// drain ends a history as a draining publisher does. Some subscribers have read everything,
// others are behind, and a frame may not be sent yet. What is not delivered must be told.
func (w *world) drain() {
	for _, s := range w.subs {
		s.drain()
	}
	for _, g := range w.groups {
		for _, m := range g.list {
			m.drain()
		}
		g.drained()
	}
}

func (s *subscriber) drain() {
	if s.cur == nil {
		s.reconnect()
	}
	if s.sub.Class == journal.AtLeastOnce {
		// The model does not know which messages were acked by ranges.
		s.ackAll()
	}
	for n := s.choose.below(4); n > 0 && s.cur != nil; n-- {
		s.fill(pick(s.choose, 100, 1<<10, 64<<10), pick(s.choose, 1, 3, 256))
	}
	for more := s.choose.oneIn(3); more && s.cur != nil; {
		more = s.fill(64<<10, 256)
	}
	// A subscriber that was too far behind has lost its cursor.
	if s.cur == nil {
		s.reconnect()
	}
	var unsent []byte
	if s.choose.oneIn(2) {
		unsent, _, _, _ = s.cur.Fill(nil, 1<<10, 10, s.now)
	}
	owed := s.cur.Owed(s.now, time.Time{})
	records, _, _ := s.cur.GiveUp(s.now, unsent)
	if len(records) > 0 && !owed && len(unsent) == 0 {
		s.Errorf("%s: nothing is owed, and gaps come", s.name)
	}
	if n := s.receive(records); n > 0 {
		s.Errorf("%s: %d messages come at the end", s.name, n)
	}
	g := s.ledger
	if s.sub.Class == journal.AtLeastOnce {
		s.buryAll()
		// The subscriber has these messages, except those that failed and were to come again.
		for _, seq := range s.answerable() {
			if !g.covered(g.mine(seq).lane, seq, 0) {
				s.acked[seq] = true
			}
			g.unheard++
		}
		s.accounted()
		return
	}
	g.complete(uint64(len(s.messages)))
	g.counts()
}

func (m *member) drain() {
	for n := m.choose.below(4); n > 0; n-- {
		m.fill(pick(m.choose, 100, 1<<10, 64<<10), pick(m.choose, 1, 3, 256))
	}
	var unsent []byte
	if m.choose.oneIn(2) {
		unsent, _, _, _ = m.cur.Fill(nil, 1<<10, 10, m.now)
	}
	records, _, _ := m.cur.GiveUp(m.now, unsent)
	m.receive(records, false)
}

// drained checks that every message was delivered to a member or told to one.
func (g *members) drained() {
	if g.sub.Class == journal.BestEffort {
		g.ledger.complete(uint64(len(g.messages)))
		g.ledger.counts()
		return
	}
	g.buryAll()
	for _, m := range g.list {
		for seq := range m.held {
			if !g.dead[seq] && !g.ledger.covered(g.ledger.mine(seq).lane, seq, 0) {
				g.acked[seq] = true
			}
		}
	}
	g.accounted()
}
