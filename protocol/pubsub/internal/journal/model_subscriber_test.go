package journal_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// subscriber is one subscription of the model, over all its connections.
type subscriber struct {
	*world
	name string
	sub  journal.Subscription
	// cur is nil while the subscriber is disconnected.
	cur     *journal.Cursor
	reader  *journal.Reader
	tracker *journal.Tracker
	ledger  *ledger
	// resumed is set when the subscriber has subscribed again at a position.
	resumed bool
	// marked is set when MARK(live) has come on this connection.
	marked bool
	// restart is set while the subscriber is in another epoch and was not told of it.
	restart bool
	left    time.Time

	// The fields below are for AtLeastOnce.

	// held has the number of the last delivery of each message.
	held map[uint64]int
	// owed has the messages that must be delivered again before they can be answered.
	owed map[uint64]bool
	// resumes counts the resumes of the session, and heard the gaps that came in it.
	resumes int
	heard   uint64
	acked   map[uint64]bool
	dead    map[uint64]bool
}

func (w *world) randomSubscription() journal.Subscription {
	c := w.choose
	s := journal.Subscription{
		Patterns: pick(c, []string{">"}, []string{"a.>", "a"}, []string{"a.*", ">"}, []string{"c.*"}, []string{"b"}),
		Overflow: pick(c, journal.DropOldest, journal.DropNewest),
	}
	if c.oneIn(4) {
		s.Keys = pick(c, []string{"k1"}, []string{"k1", "k2"}, []string{""})
	}
	return s
}

func newSubscriber(w *world) *subscriber {
	c := w.choose
	s := &subscriber{
		world: w, name: fmt.Sprintf("subscriber %d", len(w.subs)), sub: w.randomSubscription(),
		held: make(map[uint64]int), owed: make(map[uint64]bool), acked: make(map[uint64]bool), dead: make(map[uint64]bool),
	}
	s.sub.Class = pick(c, journal.BestEffort, journal.BestEffort, journal.Latest, journal.Reliable, journal.AtLeastOnce)
	switch s.sub.Class {
	case journal.BestEffort:
		s.sub.Limits.Messages = pick(c, 0, 1, 3, 20)
		s.sub.Limits.Bytes = pick(c, 0, 200, 4<<10)
		s.sub.Limits.Age = pick(c, 0, time.Second)
	case journal.Latest:
		s.sub.Limits.Messages = pick(c, 0, 2, 10)
	case journal.AtLeastOnce:
		s.sub.Limits.Messages = pick(c, 0, 1, 5)
		s.sub.ID = s.name
	case journal.Reliable:
	}
	s.ledger = newLedger(w, s.name+" ("+s.sub.Class.String()+")", &s.sub)
	first := w.log.Stats().First
	var from uint64
	live := uint64(len(w.messages) + 1)
	switch c.below(5) {
	case 0:
		s.sub.Start, from = journal.StartAll(), first
	case 1:
		n := 1 + c.below(5)
		s.sub.Start, from = journal.StartLast(n), live
	case 2:
		s.sub.Start, from = journal.StartLastPerKey(), live
	case 3:
		t := w.now.Add(-pick(c, 0, time.Second, 10*time.Second))
		s.sub.Start, from = journal.StartTime(t), live
		for i := len(w.messages); i > 0 && !w.messages[i-1].at.Before(t); i-- {
			from = uint64(i)
		}
	default:
		s.sub.Start, from = journal.StartNew(), live
	}
	for i := range s.ledger.from {
		s.ledger.from[i] = from
	}
	s.ledger.exact = from <= live && (from == live || s.sub.Class != journal.Latest) && s.sub.Start == journal.StartNew()
	s.ledger.whole = s.ledger.exact
	cur, err := w.log.Subscribe(s.sub, w.now)
	if err != nil {
		w.Fatal(err)
	}
	s.connect(cur)
	s.tracker = journal.NewTracker(s.sub.Class, cur.Position())
	if cur.Live() != live {
		w.Errorf("%s: live from %d, want %d", s.name, cur.Live(), live)
	}
	return s
}

func (s *subscriber) connect(cur *journal.Cursor) {
	s.cur, s.reader, s.marked = cur, journal.NewReader(journal.ReaderLimits{}), false
}

// lose ends the connection because the publisher has ended.
func (s *subscriber) lose() {
	s.cur = nil
}

func (s *subscriber) step() {
	c := s.choose
	if s.cur == nil {
		s.reconnect()
		return
	}
	if s.sub.Class == journal.AtLeastOnce && c.below(3) > 0 {
		s.settleSome()
	}
	switch c.below(10) {
	case 0:
		s.disconnect()
	case 1:
		frame := s.cur.Mark(nil)
		s.receive(frame)
	case 2:
		// The frame is lost with the connection.
		_, _, _, _ = s.cur.Fill(nil, 1+c.below(4<<10), 1+c.below(20), s.now)
		s.disconnect()
	default:
		s.fill(pick(c, 1, 100, 1<<10, 64<<10), pick(c, 0, 1, 3, 256))
	}
}

// subscribed reports whether the publisher has a subscription or a session of the subscriber.
func (s *subscriber) subscribed() bool {
	kept := s.sub.ID != "" && s.ledger.epoch == s.epoch && s.now.Sub(s.left) < journal.SessionKept
	return s.cur != nil || kept
}

func (s *subscriber) disconnect() {
	s.left = s.now
	if s.sub.ID != "" {
		s.cur.Detach(s.now)
	} else {
		s.cur.Close(s.now)
	}
	s.cur = nil
}

func (s *subscriber) reconnect() {
	if s.ledger.epoch != s.epoch {
		s.restart = true
		s.ledger = newLedger(s.world, s.ledger.name, &s.sub)
		s.ledger.from = [journal.Lanes]uint64{1, 1, 1}
		s.ledger.exact, s.ledger.whole, s.heard = false, true, 0
		s.held, s.acked, s.dead = make(map[uint64]int), make(map[uint64]bool), make(map[uint64]bool)
		s.owed = make(map[uint64]bool)
	} else if s.sub.ID != "" {
		cur, err := s.log.Resume(s.sub.ID, "", s.heard, s.now)
		s.resumes++
		if err == nil {
			s.connect(cur)
			return
		}
		if !errors.Is(err, journal.ErrNoSession) {
			s.Fatal(err)
		}
		// The session is gone, so the subscriber asks again for the messages that it has not acked.
		s.buryAll()
		s.heard = 0
		sub := s.sub
		sub.Start = journal.StartAt(s.tracker.Position())
		for _, seq := range slices.Sorted(maps.Keys(s.held)) {
			sub.Again = append(sub.Again, journal.Range{From: seq, To: seq})
			s.held[seq], s.owed[seq] = 0, true
		}
		if cur, err = s.log.Subscribe(sub, s.now); err != nil {
			s.Fatal(err)
		}
		s.connect(cur)
		return
	}
	sub := s.sub
	sub.Start = journal.StartAt(s.tracker.Position())
	cur, err := s.log.Subscribe(sub, s.now)
	if err != nil {
		s.Fatal(err)
	}
	s.connect(cur)
	s.tracker.Restart(s.log.Epoch())
	// After a resume, Latest may deliver messages that it has told as missing, and its gaps may have no count.
	if s.sub.Class == journal.Latest {
		s.ledger.exact, s.ledger.whole = false, false
	}
	s.resumed = true
}

// fill has the publisher send a frame, and reports whether there is more.
func (s *subscriber) fill(maxBytes, maxMessages int) bool {
	before := len("x")
	out, n, more, err := s.cur.Fill([]byte("x"), maxBytes, maxMessages, s.now)
	if n > maxMessages {
		s.Errorf("%s: %d messages, at most %d were allowed", s.name, n, maxMessages)
	}
	if got := s.receive(out[before:]); got != n {
		s.Errorf("%s: Fill says %d messages, %d came", s.name, n, got)
	}
	if tooFar, ok := errors.AsType[*journal.TooFarBehindError](err); ok && s.sub.Class == journal.Reliable {
		if tooFar.Resume.Least() < s.tracker.Position().Least() {
			s.Errorf("%s: is to resume at %+v, and is at %+v", s.name, tooFar.Resume, s.tracker.Position())
		}
		s.disconnect()
		return false
	}
	if err != nil {
		s.Errorf("%s: %v", s.name, err)
		return false
	}
	if !more && s.sub.Class != journal.AtLeastOnce && s.sub.Class != journal.Latest {
		s.ledger.complete(uint64(len(s.messages)))
	}
	return more
}

// receive reads a frame, and returns the number of messages in it.
func (s *subscriber) receive(frame []byte) (n int) {
	s.reader.Reset(frame)
	var rec journal.Record
	for {
		ok, err := s.reader.Next(&rec)
		if err != nil {
			s.Fatalf("%s: %v", s.name, err)
		}
		if !ok {
			return n
		}
		if rec.Kind == journal.KindMessage {
			n++
		}
		s.record(&rec)
	}
}

func (s *subscriber) record(rec *journal.Record) {
	g := s.ledger
	switch rec.Kind {
	case journal.KindMark:
		if rec.Mark.Kind == journal.MarkLive {
			if s.marked {
				s.Errorf("%s: a second MARK(live)", s.name)
			}
			s.marked = true
		}
		if s.sub.Class != journal.Latest && s.sub.Class != journal.AtLeastOnce {
			g.complete(rec.Mark.Seq)
		}
	case journal.KindGap:
		if rec.Gap.Reason == journal.ReasonRestart {
			if !s.restart {
				s.Errorf("%s: told of a restart", s.name)
			}
			s.restart = false
		}
		g.gaps = append(g.gaps, rec.Gap)
		s.heard++
		s.gone(&rec.Gap)
	case journal.KindMessage:
		g.message(rec, s.now)
	}
	if s.restart {
		s.Errorf("%s: was not told of the restart before a record of kind %d", s.name, rec.Kind)
	}
	fresh := s.tracker.Observe(rec)
	if s.sub.Class == journal.AtLeastOnce {
		s.delivered(rec)
		return
	}
	if s.sub.Class == journal.Latest {
		s.latest(rec, fresh)
		return
	}
	g.order(rec)
	if !fresh || rec.Kind == journal.KindMessage && g.got[rec.Seq] > 1 {
		s.Errorf("%s: message %d came twice", s.name, rec.Seq)
	}
}

// latest checks the order of the messages of each key.
func (s *subscriber) latest(rec *journal.Record, fresh bool) {
	if rec.Kind != journal.KindMessage {
		return
	}
	g := s.ledger
	if !fresh {
		g.got[rec.Seq]--
		if !s.resumed {
			s.Errorf("%s: message %d came twice without a resume", s.name, rec.Seq)
		}
		return
	}
	key := rec.Topic + " " + string(rec.Key)
	if g.got[rec.Seq] > 1 || rec.Seq <= g.last4k[key] {
		s.Errorf("%s: message %d of %s after %d", s.name, rec.Seq, key, g.last4k[key])
	}
	g.last4k[key] = rec.Seq
}

// settle reads until nothing is left, and compares the result with what was published.
func (s *subscriber) settle() {
	for range 2000 {
		if s.cur == nil {
			s.reconnect()
		}
		more := true
		for more && s.cur != nil {
			more = s.fill(64<<10, 256)
		}
		// A subscriber that was too far behind has lost its cursor.
		if s.cur == nil {
			continue
		}
		if s.sub.Class != journal.AtLeastOnce {
			break
		}
		if !s.ackAll() && s.cur.Stats(s.now).Lag.Messages == 0 && s.cur.Stats(s.now).Unacked == 0 {
			break
		}
		s.now = s.now.Add(3 * time.Minute)
	}
	if s.cur == nil {
		s.Errorf("%s: is too far behind time and again", s.name)
		return
	}
	if s.restart {
		s.Errorf("%s: was not told of the restart", s.name)
	}
	g := s.ledger
	switch s.sub.Class {
	case journal.AtLeastOnce:
		s.settled()
		return
	case journal.Latest:
		s.lastValues()
	case journal.BestEffort, journal.Reliable:
	}
	g.complete(uint64(len(s.messages)))
	g.counts()
	if st := s.cur.Stats(s.now); st.Lag.Messages != 0 || !st.StuckSince.IsZero() || !st.Lag.Exact {
		s.Errorf("%s: all is read, and it lags: %+v", s.name, st)
	}
}

// lastValues checks that the newest message of each key has come, or is in a gap whose
// reason is not ReasonConflated.
func (s *subscriber) lastValues() {
	g := s.ledger
	last := make(map[string]*published)
	for i := range g.epoch.messages {
		if p := &g.epoch.messages[i]; wants(&s.sub, p) && p.seq >= g.from[p.lane] {
			last[p.topic+" "+p.key] = p
		}
	}
	for key, p := range last {
		if g.got[p.seq] == 0 && !g.covered(p.lane, p.seq, journal.ReasonConflated) {
			s.Errorf("%s: message %d, the last of %s, is missing; gaps %+v", s.name, p.seq, key, g.gaps)
		}
	}
}
