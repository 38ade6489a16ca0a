package journal_test

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// members is a group of the model.
type members struct {
	*world
	sub    journal.Subscription
	list   []*member
	ledger *ledger
	joined int
	acked  map[uint64]bool
	dead   map[uint64]bool
	ended  bool
}

type member struct {
	*members
	name   string
	cur    *journal.Cursor
	reader *journal.Reader
	held   map[uint64]bool
	// last is the last number of each lane and key.
	last map[string]uint64
	// read counts the messages whose credit was not given back yet.
	read int
	// told counts the messages in the gaps that the member has received.
	told uint64
}

func newMembers(w *world) *members {
	c := w.choose
	g := &members{world: w, sub: w.randomSubscription(), acked: make(map[uint64]bool), dead: make(map[uint64]bool)}
	w.made++
	g.sub.Group = fmt.Sprintf("group %d", w.made)
	g.sub.Class = pick(c, journal.BestEffort, journal.AtLeastOnce)
	if g.sub.Class == journal.BestEffort {
		g.sub.Limits.Messages = pick(c, 0, 3, 20)
	} else {
		g.sub.Limits.Messages = pick(c, 0, 3)
	}
	g.ledger = newLedger(w, g.sub.Group+" ("+g.sub.Class.String()+")", &g.sub)
	from := uint64(len(w.messages) + 1)
	if c.oneIn(2) {
		g.sub.Start, from = journal.StartAll(), w.log.Stats().First
	}
	for i := range g.ledger.from {
		g.ledger.from[i] = from
	}
	g.join()
	return g
}

func (g *members) join() {
	sub := g.sub
	sub.Credit = pick(g.choose, 1, 5, 100)
	cur, err := g.log.Subscribe(sub, g.now)
	if err != nil {
		g.Fatal(err)
	}
	g.joined++
	g.list = append(g.list, &member{
		members: g, name: fmt.Sprintf("%s member %d", g.ledger.name, g.joined), cur: cur,
		reader: journal.NewReader(journal.ReaderLimits{}), held: make(map[uint64]bool), last: make(map[string]uint64),
	})
}

func (g *members) step() {
	c := g.choose
	i := c.below(len(g.list))
	m := g.list[i]
	switch n := c.below(12); {
	case n == 0 && len(g.list) < 5:
		g.join()
	case n == 1 && len(g.list) > 1:
		g.list = append(g.list[:i], g.list[i+1:]...)
		out, sent := []byte(nil), 0
		// A frame may be in flight. The others get its messages, or are told of them.
		if c.oneIn(2) {
			var err error
			if out, sent, _, err = m.cur.Fill(nil, 1<<10, 10, g.now); err != nil {
				g.Error(err)
			}
		}
		closes := c.oneIn(2)
		// Gaps that it was told may be told to another member again, unless it closes and has read
		// all messages: then it is known to have received its gaps.
		heard := g.sub.Class == journal.BestEffort && closes && sent == 0
		m.receive(out, !heard)
		if g.sub.Class == journal.BestEffort && !heard {
			g.ledger.unheard += m.told
		}
		if closes {
			m.giveCredit(m.read)
			m.cur.Close(g.now)
			return
		}
		if g.sub.Class == journal.BestEffort {
			// The member has these messages, but the publisher does not know that.
			g.ledger.unheard += uint64(m.read)
		}
		m.cur.Detach(g.now)
	case n < 5:
		m.giveCredit(c.below(m.read + 1))
	case n < 7 && g.sub.Class == journal.AtLeastOnce:
		m.settleSome()
	default:
		m.fill(pick(c, 1, 1<<10, 64<<10), pick(c, 1, 10, 256))
	}
}

func (m *member) fill(maxBytes, maxMessages int) bool {
	out, n, more, err := m.cur.Fill(nil, maxBytes, maxMessages, m.now)
	if err != nil {
		m.Errorf("%s: %v", m.name, err)
		return false
	}
	if got := m.receive(out, false); got != n {
		m.Errorf("%s: Fill says %d messages, %d came", m.name, n, got)
	}
	return more
}

// giveCredit gives back the credit of n messages that were read.
func (m *member) giveCredit(n int) {
	m.read -= n
	m.cur.AddCredit(n, m.now)
}

// receive reads a frame, and returns the number of messages in it. If lost is set, the frame does
// not arrive.
func (m *member) receive(frame []byte, lost bool) (n int) {
	m.reader.Reset(frame)
	g := m.ledger
	var rec journal.Record
	for {
		ok, err := m.reader.Next(&rec)
		if err != nil {
			m.Fatalf("%s: %v", m.name, err)
		}
		if !ok {
			return n
		}
		switch rec.Kind {
		case journal.KindGap:
			if !lost {
				g.gaps = append(g.gaps, rec.Gap)
				m.told += rec.Gap.Count
			}
		case journal.KindMessage:
			n++
			m.message(&rec, lost)
		}
	}
}

func (m *member) message(rec *journal.Record, lost bool) {
	g := m.ledger
	if m.acked[rec.Seq] || m.dead[rec.Seq] {
		m.Errorf("%s: message %d comes after its ack or death", m.name, rec.Seq)
	}
	if m.sub.Class == journal.BestEffort {
		if lost {
			return
		}
		if g.got[rec.Seq] > 0 {
			m.Errorf("%s: message %d went to two members", m.name, rec.Seq)
		}
		if rec.Attempt != 1 {
			m.Errorf("%s: message %d comes as delivery %d", m.name, rec.Seq, rec.Attempt)
		}
	} else {
		// A delivery that ends because its member closes does not count as a failure.
		if rec.Attempt > journal.DefaultMaxDeliveries+m.joined {
			m.Errorf("%s: message %d comes as delivery %d", m.name, rec.Seq, rec.Attempt)
		}
		// The message was taken from the member that had it.
		for _, other := range m.list {
			if !lost && other != m && other.held[rec.Seq] {
				delete(other.held, rec.Seq)
			}
		}
		if lost {
			return
		}
		m.held[rec.Seq] = true
	}
	m.read++
	g.message(rec, m.now)
	key := fmt.Sprint(journal.LaneOf(rec.Priority), string(rec.Key))
	if len(rec.Key) > 0 && rec.Attempt == 1 {
		if m.sub.Class == journal.BestEffort && rec.Seq < m.last[key] {
			m.Errorf("%s: message %d of key %s after %d", m.name, rec.Seq, rec.Key, m.last[key])
		}
		m.last[key] = rec.Seq
	}
}

// settleSome acks, nacks or releases one message.
func (m *member) settleSome() {
	m.bury()
	held := slices.Sorted(maps.Keys(m.held))
	if len(held) == 0 {
		return
	}
	seq := held[0]
	var err error
	switch m.choose.below(4) {
	case 0:
		err = m.cur.Nack(m.now, seq, pick(m.choose, -1, 0, time.Second), "no")
	case 1:
		err = m.cur.Release(m.now, seq)
	default:
		m.ack(seq)
		return
	}
	if err != nil {
		m.Errorf("%s: message %d: %v", m.name, seq, err)
	}
	delete(m.held, seq)
}

// ack acks a message. It acks nothing if it comes too late, because another member has the message.
func (m *member) ack(seq uint64) {
	n, err := m.cur.Ack(m.now, journal.Range{From: seq, To: seq})
	if err != nil {
		m.Errorf("%s: ack of %d: %v", m.name, seq, err)
	}
	if n == 1 {
		m.acked[seq] = true
	}
	delete(m.held, seq)
}

func (m *member) bury() {
	for _, d := range m.cur.DeadLetters(journal.MaxDeadLetters) {
		if m.acked[d.Seq] || m.dead[d.Seq] {
			m.Errorf("%s: dead letter %d is acked or dead already", m.name, d.Seq)
		}
		m.dead[d.Seq] = true
	}
}

// end notes that the publisher has ended. Nothing is promised to the group from then on.
func (g *members) end() { g.ended = true }

func (g *members) settle() {
	for range 2000 {
		progress := false
		for _, m := range g.list {
			for more := true; more || m.read > 0; {
				m.giveCredit(m.read)
				more = m.fill(64<<10, 256)
			}
			m.bury()
			for _, seq := range slices.Sorted(maps.Keys(m.held)) {
				m.ack(seq)
				progress = true
			}
		}
		for _, m := range g.list {
			st := m.cur.Stats(g.now)
			progress = progress || st.Unacked > 0 || st.Lag.Messages > 0
		}
		if !progress {
			break
		}
		g.now = g.now.Add(3 * time.Minute)
	}
	if g.sub.Class == journal.BestEffort {
		g.ledger.complete(uint64(len(g.messages)))
		g.ledger.counts()
		return
	}
	g.accounted()
}

// accounted checks that every message is acked, dead, or in a gap.
func (g *members) accounted() {
	l := g.ledger
	for i := range l.epoch.messages {
		p := &l.epoch.messages[i]
		if p.seq < l.from[p.lane] || !wants(&g.sub, p) {
			continue
		}
		acked, dead, told := g.acked[p.seq], g.dead[p.seq], l.covered(p.lane, p.seq, 0)
		if !acked && !dead && !told || acked && dead {
			g.Errorf("%s: message %d: acked %v, dead %v, told of %v", l.name, p.seq, acked, dead, told)
		}
	}
}
