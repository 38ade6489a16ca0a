package pubsub

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
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
		busy       atomic.Bool // somebody keeps the log's time, and has the fields below
		pool       *share.Pool // bytes that they take in the log
		graves     []grave     // those in the log, oldest first
		refused    uint64      // for which there was no room, and was not told
		refusedAt  time.Time   // when that was last told
	}

	drain  drain
	topics topics

	kept, durable *share.Pool // sessions, and those that stay

	subscriptions *share.Pool

	mu       sync.Mutex // guards the fields below
	peers    map[quota]int
	sessions map[*session]struct{}
	remote   int                   // sessions of other nodes
	blockers map[*session]struct{} // the sessions that publishers wait for
	waiters  map[*waiter]struct{}
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
		sessions: make(map[*session]struct{}), blockers: make(map[*session]struct{}), waiters: make(map[*waiter]struct{}),
	}
	h.dead.pool = share.NewPool(share.Config{Limit: deadShare, Floor: deadFloor})
	h.subscriptions = share.NewPool(share.Config{Limit: journal.MaxSubscriptions, Floor: sessionFloor, Most: MaxServiceSubscriptions})
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

// join adds a session, and leave removes it. Neither looks at the others.
func (h *hub) join(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[s] = struct{}{}
	if s.block > 0 {
		h.blockers[s] = struct{}{}
		h.noteBlockersLocked()
	}
	if s.out.draining() != nil {
		h.remote++
	}
	h.tellLocked(s, 1)
}

func (h *hub) leave(s *session) {
	h.mu.Lock()
	delete(h.sessions, s)
	if s.block > 0 {
		delete(h.blockers, s)
		h.noteBlockersLocked()
	}
	h.tellLocked(s, -1)
	if s.out.draining() != nil {
		h.remote--
	}
	over := h.remote == 0
	h.mu.Unlock()
	if over {
		h.drain.tell(h.node)
	}
}

func (h *hub) noteBlockersLocked() {
	if len(h.blockers) == 0 {
		h.blocking.Store(nil)
		return
	}
	blocking := slices.Collect(maps.Keys(h.blockers))
	h.blocking.Store(&blocking)
}

// waiter waits for sessions that want a path.
type waiter struct {
	path    string
	have    int // guarded by the lock of the hub
	changed chan struct{}
}

// watch returns a waiter that knows how many sessions want a path, until unwatch.
func (h *hub) watch(path string) *waiter {
	w := &waiter{path: path, changed: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.sessions {
		if s.wants(path) {
			w.have++
		}
	}
	h.waiters[w] = struct{}{}
	return w
}

func (h *hub) unwatch(w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiters, w)
}

func (h *hub) matching(w *waiter) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return w.have
}

// tellLocked tells those who wait that a session has come or gone.
func (h *hub) tellLocked(s *session, by int) {
	for w := range h.waiters {
		if !s.wants(w.path) {
			continue
		}
		w.have += by
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

// keepTime lets the node tell the log the time about once a second, and publish what was
// given up. Publishers and the writers of subscriptions ask for it, and do not wait; without
// either there is nothing that ages.
func (h *hub) keepTime(at time.Duration) {
	last := h.tick.Load()
	if int64(at)-last < int64(time.Second) || !h.tick.CompareAndSwap(last, int64(at)) || !h.dead.busy.CompareAndSwap(false, true) {
		return
	}
	if !h.node.Go(func(ctx context.Context) {
		defer h.dead.busy.Store(false)
		h.log.Tick(h.began.Add(at))
		h.bury(ctx)
	}) {
		h.dead.busy.Store(false) // the node is closed
	}
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
	holder := pool.Holder(lane.KeyOf(peer))
	if err := holder.Take(1); err != nil {
		holder.Release()
		return nil, link.Errorf(link.ResourceExhausted, "subscribe: no room for one more of the %s of %s here, it has %d: %w", name, peer.Service(), holder.Held(), err)
	}
	return func() {
		holder.Give(1)
		holder.Release()
	}, nil
}

// quota is the subscriptions of one node: of who it is, as shares are counted, and of its
// instance, which it may say as it likes.
type quota struct {
	key      share.Key
	instance string
}

// admit counts a subscription of a peer, as one of its node and as a part of what its
// identity may have. Release takes it back.
func (h *hub) admit(peer link.Peer) (release func(), err error) {
	node := quota{lane.KeyOf(peer), peer.Instance}
	if n := h.count(node, 1); n > MaxSubscriptions {
		h.count(node, -1)
		return nil, link.Errorf(link.ResourceExhausted, "%s has %d subscriptions here already, the limit is pubsub.MaxSubscriptions", peer, n-1)
	}
	holder := h.subscriptions.Holder(node.key)
	if err := holder.Take(1); err != nil {
		holder.Release()
		h.count(node, -1)
		return nil, link.Errorf(link.ResourceExhausted, "%s has %d subscriptions here already, of at most pubsub.MaxServiceSubscriptions, and has no room for one more: %w", peer.Identity, holder.Held(), err)
	}
	return func() {
		holder.Give(1)
		holder.Release()
		h.count(node, -1)
	}, nil
}

// count adds to the subscriptions of a node, and returns how many it has.
func (h *hub) count(node quota, n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.peers[node] += n
	have := h.peers[node]
	if have == 0 {
		delete(h.peers, node)
	}
	return have
}
