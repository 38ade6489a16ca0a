package pubsub_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/pubsub"
)

// The tests of this file check a promise over a real mesh: the messages that a subscription
// receives from a publisher, and the gaps that it is told of, are together what was published
// to it, in order and once, whatever happens to the network and to either side. What a killed
// publisher had not delivered is lost with it. So for each publisher everything up to its last
// message or gap is accounted for, and for a live one everything. The engine alone is tested
// against a stricter model, with more classes, in internal/journal.

// source is a publisher of the model.
type source struct {
	node *link.Node
	p    *pubsub.Publisher[order]
	// sent counts the messages published.
	sent  uint64
	alive bool
	// owes has the instances of the subscribers that were there when it began to drain.
	owes map[string]bool
}

// sink is a subscription of the model and what it received.
type sink struct {
	name  string
	node  *link.Node
	sub   *pubsub.Subscription[order]
	class pubsub.Class
	opts  []pubsub.SubscribeOption
	// names is set if the subscription has a durable name, and comes and goes.
	names bool
	away  bool
	// pause is the time after each message, in nanoseconds.
	pause atomic.Int64
	// joined counts the messages before the subscription, by publisher.
	joined map[string]uint64

	mu   sync.Mutex
	from map[string]*account
}

// account is what came from one publisher.
type account struct {
	// last is the highest message number.
	last uint64
	seen map[uint64]bool
	gaps []pubsub.Gap
	// counted is how many messages are missing by gaps whose count is known. unknown is set
	// if there was a gap whose count is not.
	counted uint64
	unknown bool
}

type model struct {
	*testing.T
	rnd     *rand.Rand
	mesh    *linktest.Mesh
	sources []*source
	sinks   []*sink
	cut     [][2]*link.Node
	// expire gives messages a TTL. There are no acks then, because dead letters take message
	// numbers too.
	expire bool
}

func (m *model) addSource() {
	node, p := publisher(m.T, m.mesh, link.Config{Limits: link.Limits{DrainTimeout: time.Second}})
	m.sources = append(m.sources, &source{node: node, p: p, alive: true})
	// Wait until the subscriptions have joined the publisher.
	sleep(time.Second)
}

func (m *model) addSink() {
	s := &sink{
		name: fmt.Sprint("subscription ", len(m.sinks)), node: m.mesh.Node(link.Config{}), from: make(map[string]*account),
		class:  []pubsub.Class{pubsub.BestEffort, pubsub.Reliable, pubsub.Latest, pubsub.AtLeastOnce}[m.rnd.IntN(4)],
		joined: make(map[string]uint64),
	}
	if m.expire && s.class == pubsub.AtLeastOnce {
		s.class = pubsub.Reliable
	}
	s.pause.Store(int64([]time.Duration{0, 0, time.Millisecond, 200 * time.Millisecond}[m.rnd.IntN(4)]))
	opts := []pubsub.SubscribeOption{s.class}
	if s.class == pubsub.BestEffort && m.rnd.IntN(2) == 0 {
		opts = append(opts, pubsub.Buffer(1+m.rnd.IntN(20), 0, 0))
	}
	for _, src := range m.sources {
		s.joined[src.node.Instance()] = src.sent
	}
	if s.names = s.class == pubsub.AtLeastOnce && m.rnd.IntN(2) == 0; s.names {
		opts = append(opts, pubsub.Durable(s.name))
	}
	s.opts = opts
	s.begin(m.T)
	m.sinks = append(m.sinks, s)
}

func (s *sink) begin(t *testing.T) {
	t.Helper()
	s.sub = subscribe(t, s.node, placed, s.opts...)
	go s.read(t, s.sub)
}

// comeOrGo ends a subscription that has a durable name, or begins it again on another node. It does
// nothing to other subscriptions.
func (m *model) comeOrGo(s *sink) {
	switch {
	case !s.names:
	case s.away:
		s.node, s.away = m.mesh.Node(link.Config{}), false
		s.begin(m.T)
	case m.rnd.IntN(2) == 0:
		s.sub.Close()
		s.away = true
	default:
		m.mesh.Kill(s.node)
		s.sub.Close()
		s.away = true
	}
}

func (s *sink) read(t *testing.T, sub *pubsub.Subscription[order]) {
	t.Helper()
	for msg := range sub.Messages() {
		s.take(t, msg)
		if pause := s.pause.Load(); pause > 0 {
			sleep(time.Duration(pause))
		}
	}
}

func (s *sink) take(t *testing.T, msg pubsub.Message[order]) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.from[msg.Publisher]
	if a == nil {
		a = &account{seen: make(map[uint64]bool)}
		s.from[msg.Publisher] = a
	}
	if g := msg.Gap; g != nil {
		a.gaps = append(a.gaps, *g)
		a.counted += g.Count
		a.unknown = a.unknown || g.Count == 0
		return
	}
	// A message that was not acked may come again.
	again := s.class == pubsub.AtLeastOnce
	if !again && (a.seen[msg.Seq] || s.class != pubsub.Latest && msg.Seq <= a.last) || msg.Err != nil || uint64(msg.Value.Cents) != msg.Seq {
		t.Errorf("%s: %s sends %d (%+v) after %d, seen %v", s.name, msg.Publisher, msg.Seq, msg.Value, a.last, a.seen[msg.Seq])
	}
	a.seen[msg.Seq] = true
	a.last = max(a.last, msg.Seq)
	msg.Ack()
}

func (m *model) publish() {
	src := m.sources[m.rnd.IntN(len(m.sources))]
	if !src.alive {
		return
	}
	for range 1 + m.rnd.IntN([]int{3, 30, 1000}[m.rnd.IntN(3)]) {
		src.sent++
		key := pubsub.Key(fmt.Sprint(m.rnd.IntN(5)))
		ttl := pubsub.TTL(0)
		if m.expire {
			ttl = pubsub.TTL([]time.Duration{0, 0, 50 * time.Millisecond, 10 * time.Second}[m.rnd.IntN(4)])
		}
		if _, err := src.p.Publish(m.Context(), order{ID: fmt.Sprint(src.sent), Cents: int64(src.sent)}, key, ttl); err != nil {
			m.Fatal(err)
		}
	}
}

func (m *model) step() {
	switch n := m.rnd.IntN(40); {
	case n == 0 && len(m.sources) < 4:
		m.addSource()
	case n == 1 && len(m.sinks) < 6:
		m.addSink()
	case n == 2:
		src := m.sources[m.rnd.IntN(len(m.sources))]
		if src.alive && len(m.cut) == 0 {
			src.alive = false
			if m.rnd.IntN(2) == 0 {
				m.mesh.Kill(src.node)
			} else {
				m.stop(src)
			}
		}
	case n < 6:
		pair := [2]*link.Node{m.sources[m.rnd.IntN(len(m.sources))].node, m.sinks[m.rnd.IntN(len(m.sinks))].node}
		m.mesh.Partition(pair[0], pair[1])
		m.cut = append(m.cut, pair)
	case n < 10:
		m.heal()
	case n < 12:
		m.comeOrGo(m.sinks[m.rnd.IntN(len(m.sinks))])
	case n < 16:
		sleep(time.Duration(m.rnd.IntN(40)) * time.Second)
	case n < 20:
		sleep(time.Duration(m.rnd.IntN(100)) * time.Millisecond)
	default:
		m.publish()
	}
}

// stop drains a publisher, which tells slow subscribers what they miss.
func (m *model) stop(src *source) {
	src.owes = make(map[string]bool)
	for _, r := range pubsub.StatsOf(src.node).Readers {
		src.owes[r.Instance] = true
	}
	ctx, cancel := context.WithTimeout(m.Context(), 5*time.Second)
	defer cancel()
	if err := src.node.Shutdown(ctx); err != nil {
		m.Logf("shutdown: %v", err)
	}
}

func (m *model) heal() {
	for _, pair := range m.cut {
		m.mesh.Heal(pair[0], pair[1])
	}
	m.cut = nil
}

func (m *model) check() {
	for _, s := range m.sinks {
		s.mu.Lock()
		for _, src := range m.sources {
			m.compare(s, src)
		}
		s.mu.Unlock()
	}
}

func (m *model) compare(s *sink, src *source) {
	id := src.node.Instance()
	a := s.from[id]
	if a == nil {
		a = &account{}
	}
	before, upTo := s.joined[id], a.last
	// gone is set if the connection was dead already when the publisher drained.
	gone := false
	for _, g := range a.gaps {
		upTo = max(upTo, g.To)
		gone = gone || g.Reason == "gone"
	}
	if src.alive || src.owes[s.node.Instance()] && !gone {
		upTo = src.sent
	}
	var missing, told uint64
	for seq := before + 1; seq <= upTo; seq++ {
		if a.seen[seq] {
			continue
		}
		missing++
		for _, g := range a.gaps {
			if g.From <= seq && seq <= g.To {
				told++
				break
			}
		}
	}
	// When a subscription of Latest resumes, it may get messages that were told as missing.
	exact := missing == a.counted || s.class == pubsub.Latest && missing < a.counted
	if missing != told || !a.unknown && !exact {
		m.Errorf("%s (%v): of %d to %d of %s %d are missing, %d of them in gaps, which count %d: %+v", s.name, s.class, before+1, upTo, id, missing, told, a.counted, a.gaps)
	}
}

// history runs one random history.
func history(t *testing.T, seed uint64) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		opts := []linktest.Option{linktest.Seed(seed), linktest.Delay(time.Duration(rnd.IntN(20)) * time.Millisecond)}
		if rnd.IntN(3) == 0 {
			opts = append(opts, linktest.Loss(0.02))
		}
		m := &model{T: t, rnd: rnd, mesh: linktest.NewMesh(t, opts...), expire: rnd.IntN(2) == 0}
		m.addSource()
		m.addSink()
		for range 60 {
			m.step()
		}
		m.heal()
		for _, s := range m.sinks {
			if s.away {
				m.comeOrGo(s)
			}
		}
		sleep(3 * time.Minute)
		for _, src := range m.sources {
			// The last message of each live publisher is published while the network is well.
			if src.alive {
				src.sent++
				if _, err := src.p.Publish(t.Context(), order{Cents: int64(src.sent)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, s := range m.sinks {
			if m.expire && s.class == pubsub.AtLeastOnce {
				s.class = pubsub.Reliable
			}
			s.pause.Store(0)
		}
		sleep(30 * time.Minute)
		m.check()
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	})
}

func TestHistoriesOverAMesh(t *testing.T) {
	runs := uint64(8)
	if testing.Short() || race.Enabled {
		runs = 1
	}
	for seed := range runs {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { history(t, seed) })
	}
}

func FuzzHistoriesOverAMesh(f *testing.F) {
	// The race detector sees a history in TestHistoriesOverAMesh already.
	for seed := range race.Fewer[uint64](4, 0) {
		f.Add(1000 + seed)
	}
	f.Fuzz(history)
}
