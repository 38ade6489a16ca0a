package pubsub

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/internal/epoch"
	"github.com/linkmesh/link/protocol/internal/lane"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// hub is the publishing side of a node: one log for all its topics, and the
// subscriptions that peers hold.
type hub struct {
	node  *link.Node
	log   *journal.Log
	rules *rules
	// began is the time from which the log counts. Reading the time since then takes half as
	// long as reading the time.
	began time.Time
	// tick is when the log was last told the time, in nanoseconds since began.
	tick atomic.Int64

	// blocking holds the sessions that publishers wait for; nil if there are none.
	blocking atomic.Pointer[[]*session]
	// stuck counts the subscriptions that were disconnected because they took nothing.
	stuck atomic.Uint64
	dead  struct {
		// kept counts the dead letters that were published, and lost the others.
		kept, lost atomic.Uint64
		// told is set once a dead letter was logged.
		told atomic.Bool
		// busy is set while a goroutine keeps the log's time. It owns the fields below.
		busy atomic.Bool
		// pool counts the bytes that dead letters take in the log.
		pool *share.Pool
		// graves are the dead letters in the log, oldest first.
		graves []grave
		// refused counts dead letters that found no room since refusedAt, when such letters
		// were last logged.
		refused   uint64
		refusedAt time.Time
	}

	drain  drain
	topics topics

	// kept counts the sessions of AtLeastOnce without a durable name, and durable those with one.
	kept, durable *share.Pool

	subscriptions *share.Pool

	mu       sync.Mutex // guards the fields below
	peers    map[quota]int
	sessions map[*session]struct{}
	// remote counts the sessions of other nodes.
	remote int
	// blockers are the sessions that publishers wait for.
	blockers map[*session]struct{}
	waiters  map[*waiter]struct{}
}

type hubKey struct{}

// hubResult is the outcome of making a node's hub, which all its publishers share.
type hubResult struct {
	hub *hub
	err error
}

// hubOf returns the hub of a node. It makes the hub at first use.
func hubOf(node *link.Node) (*hub, error) {
	r := rulesOf(node)
	made, _ := link.HostOf(node).Extension(hubKey{}, func() any { h, err := newHub(node, r); return hubResult{h, err} }).(hubResult)
	return made.hub, made.err
}

func newHub(node *link.Node, r *rules) (*hub, error) {
	began := time.Now()
	log, err := journal.New(journal.Options{Epoch: epoch.New()>>1 | 1}, began)
	if err != nil {
		return nil, link.Errorf(link.Internal, "publish: %w", err)
	}
	h := &hub{
		node: node, log: log, rules: r, began: began, peers: make(map[quota]int),
		sessions: make(map[*session]struct{}), blockers: make(map[*session]struct{}), waiters: make(map[*waiter]struct{}),
	}
	h.dead.pool = share.NewPool(share.Config{Limit: deadShare, Floor: deadFloor})
	h.subscriptions = share.NewPool(share.Config{Limit: journal.MaxSubscriptions, Floor: sessionFloor, Most: maxServiceSubscriptions})
	h.kept = share.NewPool(share.Config{Limit: journal.MaxSessions - MaxDurable, Floor: sessionFloor})
	h.durable = share.NewPool(share.Config{Limit: MaxDurable, Floor: sessionFloor})
	h.drain.attach(node)
	link.HostOf(node).Handle(route(link.HostOf(node).Service()), h.serve, link.LongLived())
	link.HostOf(node).HandleCall(statsRoute(link.HostOf(node).Service()), link.CallHandler{New: func() any { return new(struct{}) }, Serve: h.serveStats})
	r.hub.Store(h)
	return h, nil
}

// since returns the time as the log counts it.
func (h *hub) since() time.Duration { return time.Since(h.began) }

// append publishes a message. It first waits for sessions that are behind and have asked
// publishers to wait.
func (h *hub) append(ctx context.Context, m *journal.Message) (Report, error) {
	at := h.since()
	h.keepTime(at)
	if waiting := h.blocking.Load(); waiting != nil {
		// The waits overlap: the time of every session starts at began.
		began := at
		for _, s := range *waiting {
			if s.behind(blockWindow) && s.wants(m.Topic) && !s.caughtUp() {
				s.await(ctx, s.block-(h.since()-began))
				at = h.since()
			}
		}
	}
	return h.log.AppendAt(m, at)
}

// appended returns the bytes of all records published so far.
func (h *hub) appended() int64 { return int64(h.log.Written()) }

// join adds a session, and leave removes it. Neither iterates over all sessions.
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
	path string
	have int // guarded by hub.mu
	wake notify.Flag
}

// watch returns a waiter that counts the sessions that want a path until unwatch is called.
func (h *hub) watch(path string) *waiter {
	w := &waiter{path: path, wake: notify.NewFlag()}
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

// tellLocked tells the waiters that a session has come (by is 1) or gone (by is -1).
func (h *hub) tellLocked(s *session, by int) {
	for w := range h.waiters {
		if !s.wants(w.path) {
			continue
		}
		w.have += by
		w.wake.Set()
	}
}

// keepTime lets a goroutine of the node tell the log the time about once a second, and
// publish messages that were given up. Publishers and sessions call it, and do not wait for
// the goroutine. If there are neither, nothing in the log ages.
func (h *hub) keepTime(at time.Duration) {
	last := h.tick.Load()
	if int64(at)-last < int64(time.Second) || !h.tick.CompareAndSwap(last, int64(at)) || !h.dead.busy.CompareAndSwap(false, true) {
		return
	}
	if !link.HostOf(h.node).Go(func(ctx context.Context) {
		defer h.dead.busy.Store(false)
		h.log.Tick(h.began.Add(at))
		h.bury(ctx)
	}) {
		// The node is closed.
		h.dead.busy.Store(false)
	}
}

// sessionFloor is how many sessions each identity may have whatever its share, as long as
// any are free.
const sessionFloor = 16

// takeSession counts a session against the share of the peer's identity. Ended gives it back.
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

// quota identifies a node whose subscriptions are counted, by the key of its shares and by
// its instance, which the node itself chooses.
type quota struct {
	key      share.Key
	instance string
}

// admit counts a subscription of a peer, both for its node and against the share of its
// identity. Release gives it back.
func (h *hub) admit(peer link.Peer) (release func(), err error) {
	node := quota{lane.KeyOf(peer), peer.Instance}
	if n := h.count(node, 1); n > maxSubscriptions {
		h.count(node, -1)
		return nil, link.Errorf(link.ResourceExhausted, "%s has %d subscriptions here already, and one node may have %d", peer, n-1, maxSubscriptions)
	}
	holder := h.subscriptions.Holder(node.key)
	if err := holder.Take(1); err != nil {
		holder.Release()
		h.count(node, -1)
		return nil, link.Errorf(link.ResourceExhausted, "%s has %d subscriptions here already, of at most %d, and has no room for one more: %w", peer.Identity, holder.Held(), maxServiceSubscriptions, err)
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
