// Package pool is the worker's side of a stage: what it holds of which producer,
// what runs next, how much each producer may have here, and what is to be answered.
// It starts no goroutine, does no I/O and reads no clock: callers pass the time, in
// nanoseconds since 1970, run the handlers and write what is to be sent.
//
// # Windows
//
// The tasks that all producers together may have here are the slots and, so that no
// slot is idle for the time of a round trip, as many as the slots finish in that
// time. They are divided by backlog, max-min fair: nobody gets more than it has
// tasks while another wants more, what is over is divided evenly, and each has at
// least one, a probe, while there are as many slots as producers. Where names are free
// they are divided among addresses first; then among the identities, and then among the
// queues of each: a peer with many queues, or many names, does not get more.
//
// # What a lost connection leaves
//
// What has not begun is dropped: its producer gives it to another worker. Handlers
// go on for the grace and their outcomes are kept, for a producer that comes back.
package pool

import (
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

	// MaxPrefetch bounds the tasks that wait here beyond the slots. What waits is about
	// what the slots do in one round trip, so a high bound does not make for long
	// waits; 64 would cost tasks of microseconds a third of their rate.
	MaxPrefetch = 1024
	// MaxSources bounds the queues of one identity.
	MaxSources = 1024
	// CacheCount is how many outcomes of one queue are kept.
	CacheCount = 1 << 14
	// MaxPages bounds the cache of the queues of one identity, to 1<<18 outcomes.
	MaxPages = 1 << 10
	// MaxTask is the longest frame of tasks: what one slot may need at once.
	MaxTask = 4<<20 + frame.MaxBody
	// MaxUnread is how many bytes of outcomes may wait for a producer to read them, before it
	// has no further tasks taken: four results of the longest.
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
	// shareEvery is how often windows are divided anew at the most.
	shareEvery = int64(10 * time.Millisecond)
	// rotateEvery is how long a window stays with those whose turn it was, while others
	// that have tasks have none.
	rotateEvery = int64(20 * time.Millisecond)
	// shrinkTime is how long a producer may use a window that has become smaller: as
	// long as it may take to hear of it.
	shrinkTime = int64(5 * time.Second)
	// pingEvery is how often the round trip is measured.
	pingEvery = int64(time.Second)
	// sweepEvery is how often it is looked for what has aged.
	sweepEvery = int64(time.Second)
)

// Options of a pool; the zero value of each field is its default.
type Options struct {
	Slots      int // handlers at once
	Batch      int // tasks that a handler takes at once
	Linger     time.Duration
	MaxRun     time.Duration
	Grace      time.Duration
	Lease      time.Duration // how long producers believe that a task is here; they are told at a third of it
	HeldBytes  int64
	CacheTime  time.Duration
	CacheBytes int64
}

func or[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// Pool is a pool. It is not safe for concurrent use.
type Pool struct {
	opts     Options
	sources  map[string]*Source
	peers    map[share.Key]*peer
	bounds   bounds
	groups   map[string]*group
	turn     *node[*group] // ring of those with queued tasks
	queued   int
	busy     int // handlers that run
	running  places
	service  float64      // moving average of a task's time in a slot, in nanoseconds
	total    int          // windows that were divided last
	shared   int64        // when
	stale    bool         // they are to be divided anew
	turns    map[turn]int // whose turn it is to have what does not divide
	starved  bool         // somebody has tasks and no window
	swept    int64
	draining bool // nothing is taken, but of the worker's own node
	left     bool // nothing is
	stats    Stats
}

// Stats counts what a pool did since it was made.
type Stats struct {
	Done, Failed, Released, Rejected, Repeated, Overrun uint64
}

// New returns an empty pool.
func New(opts Options) *Pool {
	or(&opts.Slots, DefaultSlots)
	or(&opts.Batch, 1)
	or(&opts.MaxRun, DefaultMaxRun)
	or(&opts.Grace, DefaultGrace)
	or(&opts.Lease, 30*time.Second)
	or(&opts.HeldBytes, DefaultHeldBytes)
	or(&opts.CacheTime, DefaultCacheTime)
	or(&opts.CacheBytes, DefaultCacheBytes)
	p := &Pool{opts: opts, sources: make(map[string]*Source), peers: make(map[share.Key]*peer), groups: make(map[string]*group)}
	p.bounds = newBounds(p)
	return p
}

// Capacity is how many tasks run at once.
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
