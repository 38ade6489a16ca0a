// Package pool is the worker's side of a stage. It knows the tasks that the worker
// holds for each producer, and decides which of them run next, how many each producer
// may have here, and what is answered. It starts no goroutine, does no I/O and reads no
// clock: callers pass the time, in nanoseconds since 1970, run the handlers and write
// what is to be sent.
//
// # Windows
//
// All producers together may have as many tasks here as there are slots, plus as many
// as the slots finish in one round trip, so that no slot is idle during it. This total is
// divided by backlog, max-min fair: no producer gets more than it has tasks while another
// one wants more. The rest is divided evenly. Each producer gets at least one, a probe,
// if there are at least as many slots as producers. Where names are not proven, the total
// is divided among addresses first, then among the identities, and then among the queues
// of each: a peer with many queues, or many names, does not get more.
//
// # Lost connections
//
// Tasks that have not begun are dropped: their producer gives them to another worker.
// Handlers keep running for the grace period, and their outcomes are kept for a producer
// that comes back.
package pool

import (
	"cmp"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// Defaults and bounds.
const (
	DefaultSlots      = 16
	DefaultMaxRun     = 15 * time.Minute
	DefaultGrace      = 5 * time.Second
	DefaultHeldBytes  = 64 << 20
	DefaultCacheTime  = 2 * time.Minute
	DefaultCacheBytes = 16 << 20

	// MaxSources bounds the queues of one identity.
	MaxSources = 1024
	// CacheCount is how many outcomes of one queue are kept.
	CacheCount = 1 << 14
	// MaxPages bounds the caches of the queues of one identity, to 1<<18 outcomes.
	MaxPages = 1 << 10
	// MaxTask bounds a frame of tasks, in bytes: what one slot may need at once.
	MaxTask = 4<<20 + frame.MaxBody
	// MaxUnread is how many bytes of outcomes may wait to be read by a producer before no
	// more tasks are taken from it: four results of the maximum size.
	MaxUnread = 4 * frame.MaxResult
	// PeerUnread is MaxUnread for all queues of one identity together: one queue that is
	// stuck does not stop the others.
	PeerUnread = 4 * MaxUnread
	// MaxEcho bounds the answers that wait to be written to a producer for what it should
	// not have sent, in bytes.
	MaxEcho = 4 << 20
	// AgainBytes is about how many bytes of outcomes are copied at a time for a producer that
	// has come back and asks for them.
	AgainBytes = 256 << 10
)

const (
	// startPatience is how long a task beyond its producer's window may wait here.
	startPatience = int64(50 * time.Millisecond)
	// shareEvery limits how often windows are divided anew.
	shareEvery = int64(10 * time.Millisecond)
	// rotateEvery is how long the windows stay as they are while a producer that has tasks
	// has no window. After that it is another one's turn.
	rotateEvery = int64(20 * time.Millisecond)
	// shrinkTime is how long a producer may still use a window that has become smaller: as
	// long as it may take the producer to learn of it.
	shrinkTime = int64(5 * time.Second)
	// pingEvery is how often the round trip is measured.
	pingEvery = int64(time.Second)
	// sweepEvery is how often the pool looks for what has aged.
	sweepEvery = int64(time.Second)
)

// Options configures a pool. A field that is zero gets its default.
type Options struct {
	// Slots is how many handlers run at once.
	Slots int
	// Batch is how many tasks a handler takes at once.
	Batch  int
	Linger time.Duration
	MaxRun time.Duration
	Grace  time.Duration
	// Lease is how long producers believe that a task is here. They are told again after a third of it.
	Lease      time.Duration
	HeldBytes  int64
	CacheTime  time.Duration
	CacheBytes int64
}

// Pool holds the tasks of a worker for one stage. It is not safe for concurrent use.
type Pool struct {
	opts    Options
	sources map[string]*Source
	peers   map[share.Key]*peer
	bounds  bounds
	groups  map[string]*group
	// turn is the ring of the groups with queued tasks.
	turn   *node[*group]
	queued int
	// busy counts the running handlers.
	busy    int
	running places
	// service is a moving average of a task's time in a slot, in nanoseconds.
	service float64
	// total is the sum of the windows that were divided last, at the time shared. stale is set when
	// they are to be divided anew.
	total  int
	shared int64
	stale  bool
	// turns tells whose turn it is to get what cannot be divided evenly.
	turns map[turn]int
	// starved is set if a producer has tasks but no window.
	starved bool
	swept   int64
	// draining is set when only tasks of the worker's own node are taken, left when none are.
	draining bool
	left     bool
	stats    Stats
}

// Stats counts what a pool did since it was made.
type Stats struct {
	Done, Failed, Released, Rejected, Repeated, Overrun uint64
}

// New returns an empty pool.
func New(opts Options) *Pool {
	opts.Slots = cmp.Or(opts.Slots, DefaultSlots)
	opts.Batch = cmp.Or(opts.Batch, 1)
	opts.MaxRun = cmp.Or(opts.MaxRun, DefaultMaxRun)
	opts.Grace = cmp.Or(opts.Grace, DefaultGrace)
	opts.Lease = cmp.Or(opts.Lease, 30*time.Second)
	opts.HeldBytes = cmp.Or(opts.HeldBytes, DefaultHeldBytes)
	opts.CacheTime = cmp.Or(opts.CacheTime, DefaultCacheTime)
	opts.CacheBytes = cmp.Or(opts.CacheBytes, DefaultCacheBytes)
	p := &Pool{opts: opts, sources: make(map[string]*Source), peers: make(map[share.Key]*peer), groups: make(map[string]*group)}
	p.bounds = newBounds(p)
	return p
}

// Capacity returns how many tasks may run at once.
func (p *Pool) Capacity() int { return p.opts.Slots * p.opts.Batch }

// State is what a pool holds at a moment.
type State struct {
	Stats
	Producers, Queued, Running, Slots int
	Service                           time.Duration
}

// State returns what the pool holds.
func (p *Pool) State() State {
	s := State{Stats: p.stats, Queued: p.queued, Running: p.running.n, Slots: p.opts.Slots, Service: time.Duration(p.service)}
	for _, src := range p.sources {
		if src.connected {
			s.Producers++
		}
	}
	return s
}
