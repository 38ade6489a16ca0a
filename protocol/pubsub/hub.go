package pubsub

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/security"
)

// hub is what a node publishes with: one log for all its topics, and the
// subscriptions that peers hold.
type hub struct {
	node  *link.Node
	log   *journal.Log
	rules *rules
	began time.Time    // from which the log counts time: to ask how long ago takes half as long as to ask for the time
	tick  atomic.Int64 // when the log was last told the time, since began

	blocking atomic.Pointer[[]*session] // those that publishers wait for
	stuck    atomic.Uint64              // subscriptions that were disconnected for it
	dead     struct {
		kept, lost atomic.Uint64
		told       atomic.Bool
	}

	drain  drain
	topics topics

	kept, durable *share.Pool // sessions, and those that stay

	mu       sync.Mutex // guards the fields below
	peers    map[quota]int
	sessions map[*session]struct{}
	changed  chan struct{} // closed and replaced when sessions change
}

type hubKey struct{}

// hubResult is what the first publisher of a node left for the others.
type hubResult struct {
	hub *hub
	err error
}

// hubOf returns the hub of a node that publishes, made at first use.
func hubOf(node *link.Node) (*hub, error) {
	r := rulesOf(node)
	made, _ := node.Extension(hubKey{}, func() any { h, err := newHub(node, r); return hubResult{h, err} }).(hubResult)
	return made.hub, made.err
}

func newHub(node *link.Node, r *rules) (*hub, error) {
	var epoch [8]byte
	_, _ = rand.Read(epoch[:]) // never fails (crypto/rand)
	began := time.Now()
	log, err := journal.New(journal.Options{Epoch: binary.BigEndian.Uint64(epoch[:])>>1 | 1}, began)
	if err != nil {
		return nil, link.Errorf(link.Internal, "publish: %w", err)
	}
	h := &hub{
		node: node, log: log, rules: r, began: began, peers: make(map[quota]int),
		sessions: make(map[*session]struct{}), changed: make(chan struct{}),
	}
	h.kept = share.NewPool(share.Config{Limit: journal.MaxSessions - MaxDurable, Floor: sessionFloor})
	h.durable = share.NewPool(share.Config{Limit: MaxDurable, Floor: sessionFloor})
	h.drain.attach(node)
	node.Handle(route(node.Service()), h.serve, link.Lasting())
	node.HandleCall(statsRoute(node.Service()), link.CallHandler{New: func() any { return new(struct{}) }, Serve: h.serveStats})
	r.hub.Store(h)
	return h, nil
}

// since is the time as the log counts it.
func (h *hub) since() time.Duration { return time.Since(h.began) }

func (h *hub) append(ctx context.Context, m *journal.Message) (Report, error) {
	at := h.since()
	h.keepTime(at)
	if waiting := h.blocking.Load(); waiting != nil {
		began := at
		for _, s := range *waiting { // each for its time from now, and not one after another
			if s.behind(blockWindow) && s.wants(m.Topic) && !s.caughtUp() {
				s.await(ctx, s.block-(h.since()-began))
				at = h.since()
			}
		}
	}
	return h.log.AppendAt(m, at)
}

// appended is the bytes of records published so far.
func (h *hub) appended() int64 { return int64(h.log.Written()) }

// join adds a session, and leave removes it.
func (h *hub) join(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[s] = struct{}{}
	h.noteLocked()
}

func (h *hub) leave(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s)
	h.noteLocked()
}

func (h *hub) noteLocked() {
	var blocking []*session
	for s := range h.sessions {
		if s.block > 0 {
			blocking = append(blocking, s)
		}
	}
	if len(blocking) == 0 {
		h.blocking.Store(nil)
	} else {
		h.blocking.Store(&blocking)
	}
	close(h.changed)
	h.changed = make(chan struct{})
}

// matching counts the sessions that want a path.
func (h *hub) matching(path string) (n int, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.sessions {
		if s.wants(path) {
			n++
		}
	}
	return n, h.changed
}

// keepTime tells the log the time about once a second. Publishers and the writers
// of subscriptions do that; without either there is nothing that ages.
func (h *hub) keepTime(at time.Duration) {
	last := h.tick.Load()
	if int64(at)-last < int64(time.Second) || !h.tick.CompareAndSwap(last, int64(at)) {
		return
	}
	h.log.Tick(h.began.Add(at))
	h.bury()
}

// sessionFloor is how many sessions each identity may have, as long as there are any,
// whatever its share.
const sessionFloor = 16

// takeSession counts a session as a part of what the peer's identity may have. Ended gives it back.
func (h *hub) takeSession(peer link.Peer, durable bool) (ended func(), err error) {
	pool, name := h.kept, "sessions of AtLeastOnce"
	if durable {
		pool, name = h.durable, "durable names (pubsub.MaxDurable)"
	}
	holder := pool.Holder(share.KeyOf(peer.Identity.String(), peer.Addr, peer.Advisory))
	if err := holder.Take(1); err != nil {
		holder.Release()
		return nil, link.Errorf(link.ResourceExhausted, "subscribe: no room for one more of the %s of %s here, it has %d: %w", name, peer.Service(), holder.Held(), err)
	}
	return func() {
		holder.Give(1)
		holder.Release()
	}, nil
}

// quota is what a peer's subscriptions are counted by: its identity, and its instance,
// which it may say as it likes.
type quota struct {
	identity security.ID
	instance string // "" counts all
}

// admit counts a subscription of a peer.
func (h *hub) admit(peer link.Peer) error {
	node, service := quota{peer.Identity, "/" + peer.Instance}, quota{peer.Identity, ""}
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := h.peers[node]; n >= MaxSubscriptions {
		return link.Errorf(link.ResourceExhausted, "%s has %d subscriptions here already, the limit is pubsub.MaxSubscriptions", peer, n)
	}
	if n := h.peers[service]; n >= MaxServiceSubscriptions {
		return link.Errorf(link.ResourceExhausted, "%s has %d subscriptions here already, the limit is pubsub.MaxServiceSubscriptions", peer.Identity, n)
	}
	h.peers[node]++
	h.peers[service]++
	return nil
}

func (h *hub) release(peer link.Peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, q := range []quota{{peer.Identity, "/" + peer.Instance}, {peer.Identity, ""}} {
		if h.peers[q]--; h.peers[q] == 0 {
			delete(h.peers, q)
		}
	}
}
