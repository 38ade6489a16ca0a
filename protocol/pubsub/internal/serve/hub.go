// Package serve is what runs on a node that publishes: the log with its subscriptions, and a session
// for each subscription that is connected.
//
// # Overview
//
// A node has one [Hub]. Its publishers append to the log of the hub ([Hub.Publish]). A peer that
// subscribes gets a session, whose goroutines write what its cursor in the log has, and read the
// subscriber's verdicts. A subscription of the node itself gets its session by [Hub.Attach]. What
// subscribers gave up, the hub publishes as dead letters.
//
// The package knows nothing of types, of subscribers, or of the rules by which a user lets peers
// subscribe: it asks [Rules].
//
// # Guarantees
//
// What a node keeps for its subscribers is bounded, and each identity leaves others their share of
// it; docs/design.md has the tables. A subscriber that does not read delays nobody, except for
// publishers that have allowed it.
//
// # Concurrency
//
// A Hub is safe for concurrent use.
package serve

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
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

const (
	// MaxBlock bounds the time for which publishers wait for a subscription.
	MaxBlock = 10 * time.Second
	// heartbeatEvery is how often a publisher tells an idle subscription its position if
	// that has changed. If it has not, the interval is ten times as long.
	heartbeatEvery = time.Second
)

// Rules are what the user of a node has decided about subscriptions of other nodes. Its methods
// are called by many goroutines.
type Rules interface {
	// MayRead returns why a peer may not subscribe to a pattern, as the log names it, with a group,
	// "" for none, and with a time for which publishers would wait, 0 for none. It returns nil if
	// the peer may.
	MayRead(peer link.Peer, pattern, group string, block time.Duration) error
	// MostBlock returns the longest time for which subscriptions may make publishers wait; 0 means
	// that they may not.
	MostBlock() time.Duration
}

// Hub is the publishing side of a node: one log for all its topics, and the
// subscriptions that peers hold. It is safe for concurrent use.
type Hub struct {
	node  *link.Node
	log   *journal.Log
	rules Rules
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

// New returns the hub of a node, which from then on answers subscribers. It lives as long as the
// node.
func New(node *link.Node, rules Rules) (*Hub, error) {
	began := time.Now()
	log, err := journal.New(journal.Options{Epoch: epoch.New()>>1 | 1}, began)
	if err != nil {
		return nil, link.Errorf(link.Internal, "publish: %w", err)
	}
	h := &Hub{
		node: node, log: log, rules: rules, began: began, peers: make(map[quota]int),
		sessions: make(map[*session]struct{}), blockers: make(map[*session]struct{}), waiters: make(map[*waiter]struct{}),
	}
	h.dead.pool = share.NewPool(share.Config{Limit: deadShare, Floor: deadFloor})
	h.subscriptions = share.NewPool(share.Config{Limit: journal.MaxSubscriptions, Floor: sessionFloor, Most: maxPerService})
	h.kept = share.NewPool(share.Config{Limit: journal.MaxSessions - MaxDurable, Floor: sessionFloor})
	h.durable = share.NewPool(share.Config{Limit: MaxDurable, Floor: sessionFloor})
	h.drain.attach(node)
	host := link.HostOf(node)
	host.Handle(frame.Route(host.Service()), h.serve, link.LongLived())
	return h, nil
}

// since returns the time as the log counts it.
func (h *Hub) since() time.Duration { return time.Since(h.began) }

// Publish appends a message to the log, which copies it. It first waits for subscriptions that are
// behind and have asked publishers to wait, no longer than they have asked for, or until ctx ends;
// the message is published all the same. The errors are those of [journal.Log.AppendAt].
func (h *Hub) Publish(ctx context.Context, m *journal.Message) (journal.Report, error) {
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
func (h *Hub) appended() int64 { return int64(h.log.Written()) }

// join adds a session, and leave removes it. Neither iterates over all sessions.
func (h *Hub) join(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[s] = struct{}{}
	if s.block > 0 {
		h.blockers[s] = struct{}{}
		h.noteBlockersLocked()
	}
	if s.out.Draining() != nil {
		h.remote++
	}
	h.tellLocked(s, 1)
}

func (h *Hub) leave(s *session) {
	h.mu.Lock()
	delete(h.sessions, s)
	if s.block > 0 {
		delete(h.blockers, s)
		h.noteBlockersLocked()
	}
	h.tellLocked(s, -1)
	if s.out.Draining() != nil {
		h.remote--
	}
	over := h.remote == 0
	h.mu.Unlock()
	if over {
		h.drain.tell(h.node)
	}
}

func (h *Hub) noteBlockersLocked() {
	if len(h.blockers) == 0 {
		h.blocking.Store(nil)
		return
	}
	blocking := slices.Collect(maps.Keys(h.blockers))
	h.blocking.Store(&blocking)
}

// Announce notes that the node has a publisher of a path, so that subscriptions to it are not told
// that nobody publishes what they ask for.
func (h *Hub) Announce(path string) { h.topics.add(path) }

// Await waits until n subscriptions want a path. If ctx ends before, it returns how many there are,
// and the cause.
func (h *Hub) Await(ctx context.Context, path string, n int) (have int, err error) {
	w := h.watch(path)
	defer h.unwatch(w)
	for {
		have := h.matching(w)
		if have >= n {
			return have, nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return have, context.Cause(ctx)
		}
	}
}

// waiter waits for sessions that want a path.
type waiter struct {
	path string
	have int // guarded by Hub.mu
	wake notify.Flag
}

// watch returns a waiter that counts the sessions that want a path until unwatch is called.
func (h *Hub) watch(path string) *waiter {
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

func (h *Hub) unwatch(w *waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiters, w)
}

func (h *Hub) matching(w *waiter) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return w.have
}

// tellLocked tells the waiters that a session has come (by is 1) or gone (by is -1).
func (h *Hub) tellLocked(s *session, by int) {
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
func (h *Hub) keepTime(at time.Duration) {
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
