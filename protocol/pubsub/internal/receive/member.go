package receive

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/protocol/internal/fleet"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// Member is one publisher of a subscription.
type Member struct {
	fleet.Life
	// Topic is [Config].Topic. Acks is set if messages are acked.
	Topic string
	Acks  bool

	// credit is how many messages a member of a group is trusted with; 0 without a group.
	credit  int
	settled chan struct{} // closed at the first answer or failure
	once    sync.Once
	addr    string
	// long counts the bytes of the frames longer than flow.MaxFrame that were received and not read. They
	// may have come in parts, whose credit is granted again at once, and a publisher may connect again.
	long atomic.Int64

	mu      sync.Mutex // guards the fields below
	want    frame.Subscribe
	tracker *journal.Tracker
	pending frame.Verdict
	deliveries
	session int // counts the sessions that the publisher did not resume
	wake    notify.Flag
	connection
	failure error
	nobody  *frame.Published // the report that nobody publishes there; nil without one
	count   tally

	rulings
}

// rulings are what the rule of the node has decided about a publisher.
type rulings struct {
	// decided caches for the reading goroutine whether decidedBy allows messages of a path.
	decided   map[string]bool
	decidedBy *Rule
}

func newMember(service, id string, want *frame.Subscribe, late bool) *Member {
	m := &Member{
		Life: fleet.Life{ID: id, Service: service}, want: *want, Acks: journal.Class(want.Class) == journal.AtLeastOnce,
		settled: make(chan struct{}), wake: notify.NewFlag(), deliveries: deliveries{out: make(map[uint64]held)},
		tracker: journal.NewTracker(journal.Class(want.Class), journal.Position{}),
	}
	if want.Group != "" {
		m.credit = max(want.Credit, 0)
		if m.credit == 0 {
			m.credit = journal.DefaultMemberCredit
		}
	}
	// A publisher that appears while the subscription runs is heard from its first message on.
	if late && want.Start == frame.StartNew {
		m.want.Start = frame.StartAll
	}
	return m
}

// waits notes that the node has no publisher yet, so that its first message will be new.
func (m *Member) waits() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.want.Start == frame.StartNew {
		m.want.Start = frame.StartAll
	}
}

func (m *Member) settle() { m.once.Do(func() { close(m.settled) }) }

// ask returns the request to subscribe with. It goes on where the subscription was, if that is known.
func (m *Member) ask() *frame.Subscribe {
	m.mu.Lock()
	defer m.mu.Unlock()
	ask := m.want
	p := m.receivedLocked()
	if p.Epoch == 0 {
		return &ask
	}
	if m.Acks {
		ask.Told = m.told
		if ask.Again = m.againLocked(p.Epoch); ask.Again == nil {
			p = m.unackedLocked(p)
		}
	}
	ask.Start, ask.Position = frame.StartAt, p.Append(nil)
	return &ask
}

// received notes a frame that will be read. dropped takes that back.
func (m *Member) received(f *frames) {
	f.conn.waiting.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unread = append(m.unread, f)
	if m.Acks && f.conn.session == m.session {
		f.gaps = journal.GapsIn(f.body)
		m.told += f.gaps
	}
}

func (m *Member) dropped(f *frames) {
	f.conn.waiting.Add(-1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unread = m.unread[:len(m.unread)-1]
	m.told -= f.gaps
}

// waiting reports whether something was received and not read.
func (m *Member) waiting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.unread) > 0
}

// finished notes that the oldest frame was read.
func (m *Member) finished(f *frames) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.unread) > 0 && m.unread[0] == f {
		m.unread = slices.Delete(m.unread, 0, 1)
	}
}

// breakOff ends a connection whose publisher has sent malformed records, and a later one, which began
// behind the records that will not be read. A new connection goes on where the subscription is.
func (m *Member) breakOff(c *Conn) {
	m.mu.Lock()
	first, now := !c.broken, m.conn
	c.broken = true
	m.mu.Unlock()
	if !first {
		return
	}
	c.cut()
	if now != nil && now != c {
		now.cut()
	}
}

// receivedLocked returns the position after all received frames. A new connection begins there and repeats nothing.
func (m *Member) receivedLocked() journal.Position {
	p := m.tracker.Position()
	for _, f := range m.unread {
		if c := f.conn; !c.broken && (!m.Acks || c.session == m.session) {
			p = p.Advance(journal.Class(m.want.Class), c.epoch, f.body)
		}
	}
	return p
}

// againLocked returns the unacked messages of an epoch as ranges of numbers, nil if they are too many to ask for.
func (m *Member) againLocked(epoch uint64) []uint64 {
	seqs := make([]uint64, 0, len(m.out))
	for seq, h := range m.out {
		if h.back && !h.until.IsZero() && time.Now().After(h.until) {
			delete(m.out, seq)
			continue
		}
		seqs = append(seqs, seq)
	}
	for _, f := range m.unread {
		if f.conn.session == m.session && f.conn.epoch == epoch && !f.conn.broken {
			read := f.read
			for seq := range journal.Messages(f.body) {
				if read--; read < 0 {
					seqs = append(seqs, seq)
				}
			}
		}
	}
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	most := m.want.Messages
	if most == 0 {
		most = journal.DefaultWindow
	}
	if len(seqs) > max(most, journal.MaxAgain) {
		return nil
	}
	list := make([]uint64, 0, 2)
	for _, seq := range seqs {
		if n := len(list); n > 0 && list[n-1]+1 == seq {
			list[n-1] = seq
		} else {
			list = append(list, seq, seq)
		}
	}
	if len(list) > 2*journal.MaxAgain {
		return nil // would not fit in a frame
	}
	return list
}

// positionLocked returns how far the subscription has come, before all unacked messages. Epoch 0 means unknown.
func (m *Member) positionLocked() journal.Position { return m.unackedLocked(m.tracker.Position()) }

// unackedLocked returns p, moved before all unacked messages.
func (m *Member) unackedLocked(p journal.Position) journal.Position {
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

// joined applies a publisher's answer.
func (m *Member) joined(c *Conn, ask *frame.Subscribe, a *frame.Subscribed) {
	m.mu.Lock()
	if !a.Resumed {
		m.session++
		m.told, m.pending = 0, frame.Verdict{}
		m.beginLocked(ask, a)
	}
	c.session, c.epoch = m.session, a.Epoch
	m.conn, m.last, m.open, m.taken, m.nobody = c, c, true, 0, nil
	m.pending.Credit = 0
	m.mu.Unlock()
	m.settle()
}

// beginLocked notes where the subscription begins, because its connection may be lost before anything is read.
// If that cannot be known, the position stays unknown, and the next connection begins the subscription once more.
func (m *Member) beginLocked(ask *frame.Subscribe, a *frame.Subscribed) {
	var before uint64
	switch {
	case m.Acks && ask.Start == frame.StartAt: // unacked messages will be delivered again
		if p, _, err := journal.ParsePosition(ask.Position); err == nil {
			m.goOn(p)
			m.oweLocked(ask.Again, p.Epoch == a.Epoch)
		}
		return
	case m.tracker.Position().Epoch != 0:
		return
	case ask.Start == frame.StartAll, a.Anew && ask.Start == frame.StartNew:
	case ask.Start == frame.StartNew:
		before = max(a.Live, 1) - 1
	case ask.Start == frame.StartSeq:
		before = max(min(ask.Seq, a.Live), 1) - 1
	default:
		return
	}
	m.goOn(journal.Position{Epoch: a.Epoch, Seq: [journal.Lanes]uint64{before, before, before}})
}

// oweLocked notes messages that the same run of a publisher is to deliver again. They cannot be answered before.
func (m *Member) oweLocked(again []uint64, same bool) {
	old := m.out
	m.out, m.owed = make(map[uint64]held), 0
	for i := 0; same && i+1 < len(again); i += 2 {
		for seq := again[i]; seq <= again[i+1]; seq++ {
			m.out[seq] = held{owed: true, lane: old[seq].lane}
			m.owed++
		}
	}
}

// goneLocked notes that the publisher no longer has messages that it was to deliver again.
func (m *Member) goneLocked(g *journal.Gap) {
	for seq, h := range m.out {
		exact := g.Lane == h.lane || g.Count == g.To-g.From+1
		if h.owed && exact && g.From <= seq && seq <= g.To {
			delete(m.out, seq)
			m.owed--
		}
	}
}

// goOn sets the position of the subscription.
func (m *Member) goOn(p journal.Position) {
	m.tracker = journal.NewTracker(journal.Class(m.want.Class), p)
}

// lost notes why there is no connection. Subscribe does not wait until a full publisher has room.
func (m *Member) lost(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn, m.failure = nil, err
	if errors.Is(err, io.EOF) {
		m.open = false
	}
	if link.CodeOf(err) == link.ResourceExhausted {
		m.settle()
	}
}

// full returns the error of a publisher that has no room for the subscription, otherwise nil.
func (m *Member) full() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn == nil && link.CodeOf(m.failure) == link.ResourceExhausted {
		return m.failure
	}
	return nil
}

// Ended reports whether the publisher has said that it has sent everything.
func (m *Member) Ended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last != nil && !m.open
}

// cutShort returns, once, the last connection of a publisher that did not end it in good order.
func (m *Member) cutShort() *Conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.open {
		return nil
	}
	m.open = false
	return m.last
}

// observe notes a record and reports whether it is new. In AtLeastOnce, a redelivery counts as new.
func (m *Member) observe(c *Conn, rec *journal.Record) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	c.countLocked(rec)
	if m.Acks && c.session != m.session {
		m.count.add(rec, true)
		return true
	}
	if !c.begun {
		c.begun = true
		m.tracker.Restart(c.epoch) // all records of earlier epochs were read before
	}
	fresh := m.tracker.Observe(rec)
	m.count.add(rec, fresh)
	if rec.Kind == journal.KindMessage && m.credit > 0 && c == m.conn {
		m.tookLocked()
	}
	if !m.Acks {
		return fresh
	}
	switch {
	case rec.Kind == journal.KindMessage:
		if len(m.unread) > 0 {
			m.unread[0].read++
		}
		h := m.out[rec.Seq]
		if h.owed {
			m.owed--
		}
		m.read++
		h.order = m.read
		h.ttl, h.lane, h.back, h.owed = rec.TTL, journal.LaneOf(rec.Priority), false, false
		m.out[rec.Seq] = h
	case rec.Kind == journal.KindGap && m.owed > 0:
		m.goneLocked(&rec.Gap)
	}
	return true
}

// tookLocked grants credit again whenever a quarter of it was used.
func (m *Member) tookLocked() {
	m.taken++
	if m.taken >= max(m.credit/4, 1) {
		m.pending.Credit += m.taken
		m.taken = 0
		m.wake.Set()
	}
}
