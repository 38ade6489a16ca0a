package journal_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// This file is a model of the promise of the package: the messages that a subscriber
// receives and the gaps that it is told of are what was published to it, in order and
// without duplicates. A world runs a random history of one publisher and its subscribers,
// and remembers what was published. A ledger compares that with what was received.

// chooser makes the decisions of a history: those of a script first, then random ones.
type chooser struct {
	script []byte
	rnd    *rand.Rand
}

// below returns a number from 0 to n-1.
func (c *chooser) below(n int) int {
	if len(c.script) > 0 {
		b := c.script[0]
		c.script = c.script[1:]
		return int(b) % n
	}
	return c.rnd.IntN(n)
}

func (c *chooser) oneIn(n int) bool { return c.below(n) == 0 }

func pick[T any](c *chooser, list ...T) T { return list[c.below(len(list))] }

// published is a message as the model remembers it.
type published struct {
	seq     uint64
	topic   string
	key     string
	lane    int
	payload string
	at      time.Time
	ttl     time.Duration
}

func (p *published) expired(now time.Time) bool { return p.ttl > 0 && !now.Before(p.at.Add(p.ttl)) }

// epoch is one run of the publisher.
type epoch struct {
	log  *journal.Log
	opts journal.Options
	// messages has the message of number n at index n-1.
	messages []published
}

type world struct {
	*testing.T
	choose *chooser
	now    time.Time
	*epoch
	epochs []*epoch
	subs   []*subscriber
	groups []*members
	// made counts all groups, including those of earlier epochs.
	made int
}

// newWorld starts a history that the seed and the script determine.
func newWorld(t *testing.T, seed uint64, script []byte) *world {
	t.Helper()
	w := &world{
		T: t, choose: &chooser{script: script, rnd: rand.New(rand.NewPCG(seed, 1))},
		now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	w.restart()
	return w
}

// restart begins a new epoch. Subscribers find out on their next connection.
func (w *world) restart() {
	o := journal.Options{
		Epoch: uint64(len(w.epochs) + 1), Bytes: pick(w.choose, 2<<10, 16<<10, 1<<20),
		Age: pick(w.choose, 5*time.Second, time.Minute), NoHistory: w.choose.oneIn(4),
	}
	l, err := journal.New(o, w.now)
	if err != nil {
		w.Fatal(err)
	}
	w.epoch = &epoch{log: l, opts: o}
	w.epochs = append(w.epochs, w.epoch)
	for _, s := range w.subs {
		s.lose()
	}
	for _, g := range w.groups {
		g.end()
	}
	w.groups = nil
}

func (w *world) publish() {
	c := w.choose
	p := published{
		seq:   uint64(len(w.messages) + 1),
		topic: pick(c, "a", "b", "a.x", "a.y", "b.x.1", fmt.Sprintf("c.%d", c.below(50))),
		key:   pick(c, "", "", "k1", "k2", "k3"), at: w.now,
		ttl: pick(c, 0, 0, 0, 500*time.Millisecond, 5*time.Second),
	}
	p.payload = fmt.Sprint(p.seq) + string(make([]byte, pick(c, 0, 10, 100, 100, 400)))
	// A long record is copied without the lock.
	if c.oneIn(200) {
		p.payload += string(make([]byte, 20<<10))
	}
	priority := pick[uint8](c, 0, 0, 0, 128, 1, 63, 64, 191, 192, 255)
	p.lane = journal.LaneOf(priority)
	m := journal.Message{Topic: p.topic, Key: p.key, Payload: []byte(p.payload), TTL: p.ttl, Priority: priority}
	if c.oneIn(3) {
		m.Headers = []journal.Pair{{Name: "h", Value: p.key}}
	}
	w.messages = append(w.messages, p)
	r, err := w.log.Append(m, w.now)
	if err != nil {
		w.Fatal(err)
	}
	matched := 0
	for _, s := range w.subs {
		if s.subscribed() && wants(&s.sub, &p) {
			matched++
		}
	}
	for _, g := range w.groups {
		if wants(&g.sub, &p) {
			matched++
		}
	}
	if r.Matched != matched || r.Queued > matched {
		w.Errorf("message %d matched %+v of %d subscriptions", p.seq, r, matched)
	}
}

func wants(s *journal.Subscription, p *published) bool {
	keyed := len(s.Keys) == 0
	for _, k := range s.Keys {
		keyed = keyed || k == p.key
	}
	if !keyed {
		return false
	}
	for _, pattern := range s.Patterns {
		if subject.Match(pattern, p.topic) {
			return true
		}
	}
	return false
}

// step does one random step of a history.
func (w *world) step() {
	c := w.choose
	switch n := c.below(100); {
	case n < 45:
		for range 1 + c.below(12) {
			w.publish()
		}
	case n < 52:
		w.now = w.now.Add(pick(c, time.Microsecond, 10*time.Millisecond, time.Second, 7*time.Second, 70*time.Second))
		w.log.Tick(w.now)
	case n < 53 && c.oneIn(4):
		w.restart()
	case n < 57 && len(w.subs) < 8:
		w.subs = append(w.subs, newSubscriber(w))
	case n < 59 && len(w.groups) < 2:
		w.groups = append(w.groups, newMembers(w))
	case n < 68 && len(w.groups) > 0:
		pick(c, w.groups...).step()
	case len(w.subs) > 0:
		pick(c, w.subs...).step()
	}
}

// play does so many steps, unless one of them fails.
func (w *world) play(steps int) {
	for range steps {
		if w.step(); w.Failed() {
			return
		}
	}
}

// run runs a history to its end, where all subscribers read everything that they get.
func (w *world) run(steps int) {
	if w.play(steps); w.Failed() {
		return
	}
	for _, s := range w.subs {
		s.settle()
	}
	for _, g := range w.groups {
		g.settle()
	}
}

func history(t *testing.T, seed uint64, script []byte) {
	t.Helper()
	newWorld(t, seed, script).run(300)
	if t.Failed() {
		t.Logf("seed %d, script %q", seed, script)
	}
}

// FuzzHistory runs as many histories as it is asked for: go test -fuzz FuzzHistory
// -fuzztime 10000x.
func FuzzHistory(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed, []byte(nil))
	}
	f.Add(uint64(1), []byte{53, 0, 1, 2, 3})
	// There is a gap at the start besides the gaps of messages that were to come again.
	f.Add(uint64(9017050854345464368), []byte(nil))
	// A key goes to another member while a message of the key is in flight.
	f.Add(uint64(6), []byte("211"))
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) { history(t, seed, script) })
}

// ledger is what one subscriber, or a group, knows of one epoch.
type ledger struct {
	*testing.T
	epoch *epoch
	name  string
	sub   *journal.Subscription
	// from is the number in each lane from which on nothing may be missing.
	from [journal.Lanes]uint64
	got  map[uint64]int
	gaps []journal.Gap
	// last is the last message in each lane, and told the greatest end of a gap.
	last [journal.Lanes]uint64
	told [journal.Lanes]uint64
	// exact is set if gaps tell of everything that is missing, except gaps of unknown count.
	exact bool
	// whole is set if from is exactly where the subscription begins. Otherwise it may begin earlier.
	whole bool
	// unheard counts messages that may be told and also accounted for otherwise: dead letters
	// of a lost session that the subscriber never had, and messages that it has and has not
	// answered when the publisher ends.
	unheard uint64
	// last4k has, for Latest, the last number of each topic and key.
	last4k map[string]uint64
}

func newLedger(w *world, name string, sub *journal.Subscription) *ledger {
	return &ledger{
		T: w.T, epoch: w.epoch, name: name, sub: sub, got: make(map[uint64]int),
		last4k: make(map[string]uint64), exact: true,
	}
}

// mine returns the message of a number, nil if it is not the subscription's.
func (g *ledger) mine(seq uint64) *published {
	if seq == 0 || seq > uint64(len(g.epoch.messages)) {
		return nil
	}
	if p := &g.epoch.messages[seq-1]; wants(g.sub, p) {
		return p
	}
	return nil
}

// message notes a received message, and checks that it is what was published.
func (g *ledger) message(rec *journal.Record, now time.Time) {
	p := g.mine(rec.Seq)
	if p == nil {
		g.Errorf("%s: message %d is not its own", g.name, rec.Seq)
		return
	}
	headers := 0
	for name, value := range rec.Headers.All() {
		if string(name) != "h" || string(value) != p.key {
			g.Errorf("%s: header %s=%s of message %d", g.name, name, value, p.seq)
		}
		headers++
	}
	if rec.Topic != p.topic || string(rec.Key) != p.key || string(rec.Payload) != p.payload || rec.TTL != p.ttl ||
		journal.LaneOf(rec.Priority) != p.lane || !rec.Time.Equal(p.at) || headers > 1 {
		g.Errorf("%s: message %d is %s %q at %v, want %s %q at %v", g.name, p.seq, rec.Topic, rec.Key, rec.Time, p.topic, p.key, p.at)
	}
	if p.expired(now) && rec.Attempt == 1 {
		g.Errorf("%s: message %d was delivered after its TTL", g.name, p.seq)
	}
	g.got[rec.Seq]++
}

// order checks that the messages and gaps of a lane come in order.
func (g *ledger) order(rec *journal.Record) {
	switch rec.Kind {
	case journal.KindMessage:
		lane := journal.LaneOf(rec.Priority)
		if rec.Seq <= g.last[lane] || rec.Seq <= g.told[lane] {
			g.Errorf("%s: message %d after message %d and a gap up to %d", g.name, rec.Seq, g.last[lane], g.told[lane])
		}
		g.last[lane] = rec.Seq
	case journal.KindGap:
		if n := rec.Gap; n.From <= g.last[n.Lane] && n.Reason != journal.ReasonRestart {
			g.Errorf("%s: gap %+v after message %d", g.name, n, g.last[n.Lane])
		}
		g.told[rec.Gap.Lane] = max(g.told[rec.Gap.Lane], rec.Gap.To)
	}
}

// covered reports whether a gap of the lane covers a number. Gaps for the reason except do not count.
func (g *ledger) covered(lane int, seq uint64, except journal.Reason) bool {
	for _, n := range g.gaps {
		if n.From <= seq && seq <= n.To && n.Reason != except && (n.Lane == lane || g.sub.Class == journal.Latest || n.Reason == journal.ReasonRetention && (n.Count == 0 || n.Count == n.To-n.From+1)) {
			return true
		}
	}
	return false
}

// complete checks that nothing up to a number is missing silently.
func (g *ledger) complete(upTo uint64) {
	for i := range g.epoch.messages {
		p := &g.epoch.messages[i]
		if p.seq > upTo || p.seq < g.from[p.lane] || !wants(g.sub, p) || g.got[p.seq] > 0 {
			continue
		}
		if !g.covered(p.lane, p.seq, 0) {
			g.Errorf("%s: message %d of %s in lane %d is missing up to %d, gaps %+v", g.name, p.seq, p.topic, p.lane, upTo, g.gaps)
			return
		}
	}
}

// once checks that gaps do not count more messages than are missing, and just as many if all
// gaps have a count. Nothing may be told twice, whatever connections were lost.
func (g *ledger) once(got func(p *published) bool) {
	var told, missing uint64
	unknown := false
	for _, n := range g.gaps {
		told += n.Count
		unknown = unknown || n.Count == 0
	}
	for i := range g.epoch.messages {
		if p := &g.epoch.messages[i]; wants(g.sub, p) && p.seq >= g.from[p.lane] && !got(p) {
			missing++
		}
	}
	if g.whole && told > missing+g.unheard || g.exact && !unknown && told+g.unheard < missing {
		g.Errorf("%s: %d messages are missing, gaps tell of %d: %+v", g.name, missing, told, g.gaps)
	}
}

// counts checks that the gaps of each lane count as many messages as are missing.
func (g *ledger) counts() {
	if g.whole {
		g.once(func(p *published) bool { return g.got[p.seq] > 0 })
	}
	var told, missing [journal.Lanes]uint64
	unknown := false
	for _, n := range g.gaps {
		lane := n.Lane
		if g.sub.Class == journal.Latest {
			lane = 0
		}
		told[lane] += n.Count
		unknown = unknown || n.Count == 0
	}
	for i := range g.epoch.messages {
		p := &g.epoch.messages[i]
		lane := p.lane
		if g.sub.Class == journal.Latest {
			lane = 0
		}
		if g.got[p.seq] == 0 && wants(g.sub, p) && p.seq >= g.from[p.lane] {
			missing[lane]++
		}
	}
	for lane := range told {
		if g.exact && !unknown && g.unheard == 0 && told[lane] != missing[lane] {
			g.Errorf("%s: %d messages are missing in lane %d, gaps tell of %d: %+v", g.name, missing[lane], lane, told[lane], g.gaps)
		}
	}
}
