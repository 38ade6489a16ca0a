package pubsub

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// member is one publisher of a subscription.
type member struct {
	service string
	id      string
	topic   string // in spans
	acks    bool
	credit  int           // for a member of a group: messages it is trusted with; 0: no group
	leaving atomic.Bool   // discovery no longer shows it
	settled chan struct{} // closed when it has answered, or failed to, for the first time
	once    sync.Once
	place   lane.Place // for the goroutine that attends it
	addr    string

	mu      sync.Mutex // guards the fields below
	want    subscribe
	tracker *journal.Tracker
	pending verdict
	out     map[uint64]held // delivered, and neither acked nor given up
	owed    int             // how many of out the publisher has yet to deliver in this session
	read    uint64          // deliveries of AtLeastOnce that were read
	told    uint64          // gaps that were received in this session
	unread  []*frames       // received, oldest first, with the one that is being read
	session int             // counts those that the publisher did not resume
	wake    chan struct{}
	conn    *conn      // the present one
	last    *conn      // the present one, or the one before; nil before the first
	open    bool       // it was heard, and did not say that this was all
	taken   int        // messages read on it since credit was given
	failure error      // why the last connection failed
	nobody  *published // what its publisher said of a subscription that nobody publishes to; nil: it did not
	count   tally

	// for the goroutine that reads the subscription: whether it takes messages of a path
	decided   map[string]bool
	decidedBy *func(Access) error
}

// held is a message of AtLeastOnce that its publisher has not let go of.
type held struct {
	ttl   time.Duration
	order uint64 // which of all deliveries it was, for verdicts
	nacks int
	lane  int
	back  bool      // it was given back, and is to come again
	owed  bool      // its session has ended, and it is to come again
	until time.Time // when it does not come again any more; zero is never
}

func newMember(service, id string, want *subscribe, late bool) *member {
	m := &member{
		service: service, id: id, place: lane.Place{ID: id}, want: *want, acks: Class(want.Class) == AtLeastOnce,
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
	p := m.receivedLocked()
	if p.Epoch == 0 {
		return &ask
	}
	if m.acks {
		ask.Told = m.told
		if ask.Again = m.againLocked(p.Epoch); ask.Again == nil {
			p = m.unackedLocked(p)
		}
	}
	ask.Start, ask.Position = startAt, p.Append(nil)
	return &ask
}

// received notes a frame that is to be read, and dropped that it is not.
func (m *member) received(f *frames) {
	f.conn.waiting.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unread = append(m.unread, f)
	if m.acks && f.conn.session == m.session {
		f.gaps = journal.GapsIn(f.body)
		m.told += f.gaps
	}
}

func (m *member) dropped(f *frames) {
	f.conn.waiting.Add(-1)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unread = m.unread[:len(m.unread)-1]
	m.told -= f.gaps
}

// waiting reports whether something was received and not read.
func (m *member) waiting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.unread) > 0
}

// finished notes that the oldest frame was read.
func (m *member) finished(f *frames) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.unread) > 0 && m.unread[0] == f {
		m.unread = slices.Delete(m.unread, 0, 1)
	}
}

// breakOff ends a connection whose publisher has sent nonsense, so that it is made again
// where the subscription is.
func (m *member) breakOff(c *conn) {
	m.mu.Lock()
	first, now := !c.broken, m.conn
	c.broken = true
	m.mu.Unlock()
	if !first {
		return // what came with it is passed over
	}
	c.cut()
	if now != nil && now != c { // it began behind what is not read
		now.cut()
	}
}

// receivedLocked is how far the subscription will have come when it has read all that
// was received. What is asked for then begins there, so that nothing is told twice.
func (m *member) receivedLocked() journal.Position {
	p := m.tracker.Position()
	for _, f := range m.unread {
		if c := f.conn; !c.broken && (!m.acks || c.session == m.session) {
			p = p.Advance(journal.Class(m.want.Class), c.epoch, f.body)
		}
	}
	return p
}

// againLocked returns the messages of an epoch that have no ack and are to come again, as
// ranges of their numbers; nil if they are too many to ask for.
func (m *member) againLocked(epoch uint64) []uint64 {
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
		return nil // they would not fit in a frame
	}
	return list
}

// positionLocked is how far the subscription has come, of no epoch if that is not known.
// With acks, everything after it comes again that was not acked.
func (m *member) positionLocked() journal.Position { return m.unackedLocked(m.tracker.Position()) }

// unackedLocked returns a position before all that was not acked.
func (m *member) unackedLocked(p journal.Position) journal.Position {
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
		m.told, m.pending = 0, verdict{}
		m.beginLocked(ask, a)
	}
	c.session, c.epoch = m.session, a.Epoch
	m.conn, m.last, m.open, m.taken, m.nobody = c, c, true, 0, nil
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
			m.goOn(p)
			m.oweLocked(ask.Again, p.Epoch == a.Epoch)
		}
		return
	case m.tracker.Position().Epoch != 0:
		return
	case ask.Start == startAll, a.Anew && ask.Start == startNew:
	case ask.Start == startNew:
		before = max(a.Live, 1) - 1
	case ask.Start == startSeq:
		before = max(min(ask.Seq, a.Live), 1) - 1
	default:
		return
	}
	m.goOn(journal.Position{Epoch: a.Epoch, Seq: [journal.Lanes]uint64{before, before, before}})
}

// oweLocked notes what was asked for once more, if the publisher is still the same run: none
// of it can be judged before it has come.
func (m *member) oweLocked(again []uint64, same bool) {
	old := m.out
	m.out, m.owed = make(map[uint64]held), 0
	for i := 0; same && i+1 < len(again); i += 2 {
		for seq := again[i]; seq <= again[i+1]; seq++ {
			m.out[seq] = held{owed: true, lane: old[seq].lane}
			m.owed++
		}
	}
}

// goneLocked notes that the publisher does not have what it was to deliver again.
func (m *member) goneLocked(g *journal.Gap) {
	for seq, h := range m.out {
		exact := g.Lane == h.lane || g.Count == g.To-g.From+1
		if h.owed && exact && g.From <= seq && seq <= g.To {
			delete(m.out, seq)
			m.owed--
		}
	}
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

// ended reports whether the publisher has said that this was all.
func (m *member) ended() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last != nil && !m.open
}

// cutShort returns the last connection of a publisher that did not end it in good order,
// once.
func (m *member) cutShort() *conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.open {
		return nil
	}
	m.open = false // until it is heard again
	return m.last
}

// observe takes note of a record and reports whether it is new.
func (m *member) observe(c *conn, rec *journal.Record) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	c.countLocked(rec)
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
