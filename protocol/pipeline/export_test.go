package pipeline

import (
	"context"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/protocol/internal/fleet"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// Faults is a real log whose calls fail as a test demands.
type Faults struct {
	disk

	mu   sync.Mutex // guards the fields below
	fail error
	// kinds holds the kinds of records whose appends fail; nil means all.
	kinds map[byte]bool
	// spare is how many appends of these kinds still succeed first.
	spare  int
	told   func(wal.Position, error)
	denied int
	// written counts the records of each kind.
	written [256]int
	// held is set if the queue is not told what is durable.
	held    bool
	hasty   func(pos wal.Position) error
	stalled chan struct{}
	// syncing blocks Commit until it is closed, unless it is nil.
	syncing chan struct{}
}

// HoldSync makes syncs that the queue waits for block until release is called.
func (f *Faults) HoldSync() (release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	syncing := make(chan struct{})
	f.syncing = syncing
	return func() { close(syncing) }
}

// Stall makes appends of tasks block until resume is called.
func (f *Faults) Stall() (resume func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	stalled := make(chan struct{})
	f.stalled = stalled
	return func() { close(stalled) }
}

// Hasty makes the disk report an append of tasks before the append returns: as durable if fail
// returns nil, and as failed otherwise. Nothing is reported as durable later.
func (f *Faults) Hasty(fail func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = true
	f.hasty = func(pos wal.Position) error {
		if err := fail(); err != nil {
			return err
		}
		return f.disk.Commit(context.Background(), pos)
	}
}

// Hold keeps the disk from reporting anything as durable.
func (f *Faults) Hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = true
}

func (f *Faults) durable(pos wal.Position, err error) {
	f.mu.Lock()
	held := f.held
	f.mu.Unlock()
	if !held || err != nil {
		f.told(pos, err)
	}
}

// On makes a queue durable in folder, with these faults.
func (f *Faults) On(folder string) QueueOption {
	return queueOption(func(s *queueSettings) {
		s.folder = folder
		s.disk = func(dir string, opts wal.Options, replay func(wal.Record) error) (disk, error) {
			// A queue that spills is not told what is durable.
			if f.told = opts.OnDurable; f.told != nil {
				opts.OnDurable = f.durable
			}
			log, err := wal.Open(dir, opts, replay)
			f.disk = log
			return f, err
		}
	})
}

// SpillOn is [Spill] into folder, with these faults.
func (f *Faults) SpillOn(folder string) QueueOption {
	return queueOption(func(s *queueSettings) { f.On("").applyQueue(s); s.spill = folder })
}

// Set makes appends that start with a record of one of these kinds fail from now on. Without
// kinds, all appends fail. A nil error lets them succeed again.
func (f *Faults) Set(err error, kinds ...byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.kinds, f.spare = err, nil, 0
	for _, k := range kinds {
		if f.kinds == nil {
			f.kinds = make(map[byte]bool)
		}
		f.kinds[k] = true
	}
}

// SetAfter is like Set for one kind, but the first n appends of that kind still succeed.
func (f *Faults) SetAfter(n int, err error, kind byte) {
	f.Set(err, kind)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spare = n
}

// Denied returns how many appends failed.
func (f *Faults) Denied() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.denied
}

// Freeze reports an error as the log does when a sync fails.
func (f *Faults) Freeze(err error) { f.told(0, err) }

// Append appends to the log, or fails.
func (f *Faults) Append(records ...wal.Record) (wal.Position, error) {
	f.mu.Lock()
	stalled := f.stalled
	f.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	if err := f.hit(records[0].Kind); err != nil {
		return 0, err
	}
	pos, err := f.note(records)(f.disk.Append(records...))
	f.mu.Lock()
	hasty := f.hasty
	f.mu.Unlock()
	if err == nil && hasty != nil {
		f.told(pos, hasty(pos))
	}
	return pos, err
}

// AppendReserved appends to the log, or fails.
func (f *Faults) AppendReserved(records ...wal.Record) (wal.Position, error) {
	if err := f.hit(records[0].Kind); err != nil {
		return 0, err
	}
	return f.note(records)(f.disk.AppendReserved(records...))
}

// note returns a function that counts records if their append succeeds, and passes its results on.
func (f *Faults) note(records []wal.Record) func(wal.Position, error) (wal.Position, error) {
	return func(pos wal.Position, err error) (wal.Position, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, r := range records {
			if err == nil && !r.End {
				f.written[r.Kind]++
			}
		}
		return pos, err
	}
}

// Written returns how many records of a kind were written, without those that end others.
func (f *Faults) Written(kind byte) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written[kind]
}

func (f *Faults) hit(kind byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil || f.kinds != nil && !f.kinds[kind] {
		return nil
	}
	if f.spare > 0 {
		f.spare--
		return nil
	}
	f.denied++
	return f.fail
}

// Commit commits the log, after waiting for the release that HoldSync returned.
func (f *Faults) Commit(ctx context.Context, pos wal.Position) error {
	f.mu.Lock()
	syncing := f.syncing
	f.mu.Unlock()
	if syncing != nil {
		<-syncing
	}
	return f.disk.Commit(ctx, pos)
}

// The kinds of records, for [Faults.Set].
const (
	RecordTask = recordTask
	RecordEnd  = recordEnd
)

// SetBack has the effect of setting the system clock back by d just after the queue was made,
// or forward if d is negative.
func SetBack(d time.Duration) QueueOption {
	return queueOption(func(s *queueSettings) { s.clock = newClock(); s.clock.wall += int64(d) })
}

// SetBackPull is SetBack for a worker.
func SetBackPull(d time.Duration) PullOption {
	return pullOption(func(s *pullSettings) { s.clock = newClock(); s.clock.wall += int64(d) })
}

// RecordDead is another kind of record, for [Faults.Set].
const RecordDead = recordDead

// Patient makes a queue wait long for lost workers, so that it gives up none on a slow machine.
func Patient() QueueOption {
	return queueOption(func(s *queueSettings) { s.queue.Grace = time.Hour })
}

// RejoinPause returns the backoff of a queue after a number of consecutive failures to keep a
// stream to a worker.
func RejoinPause(failures int) time.Duration { return fleet.Rejoin().Pause(failures) }

// The kinds of other records, for [Faults.Set].
const (
	RecordMeta   = recordMeta
	RecordWorker = recordWorker
)

// Halt stops the goroutines of a queue, as closing its node does.
func (q *Queue) Halt() { q.cancelAll() }

// HoldFinish keeps the queues of a node from finishing until release is called.
func HoldFinish(node *link.Node) (release func()) {
	s := systemOf(node)
	s.mu.Lock()
	return s.mu.Unlock
}

// SpareFences is how many runs in a row may find the disk full.
const SpareFences = spareFences

// LongestTasks bounds a frame of tasks that a worker takes, in bytes.
const LongestTasks = maxTasks

// EnqueueRaw pushes a task with a body of any length.
func (q *Queue) EnqueueRaw(ctx context.Context, body []byte) (*Future[None], error) {
	e := &entry{owner: q}
	e.Body, e.Owner = body, e
	e, err := q.add(ctx, e, true)
	return &Future[None]{e, q}, err
}

// refusing is a stream that fails to send anything, although its context has not ended.
type refusing struct {
	stream

	err error
}

func (s refusing) Send(link.Frame) error    { return s.err }
func (s refusing) Context() context.Context { return context.Background() }

// SendRefused makes the queue send a task on a stream that refuses it with err, and then lose that
// stream. It returns the error with which the queue stopped sending.
func (q *Queue) SendRefused(err error) error {
	now := q.clock.now().UnixNano()
	q.mu.Lock()
	w := q.tasks.Join("refusing", queue.Welcome{Epoch: 1, Slots: 1}, now)
	q.tasks.Window(w, 1, 1<<20, now)
	q.unlock()
	c := &connection{link: &workerLink{queue: q}, queue: q, worker: w, ready: w.Ready(), stream: refusing{err: err}, most: 4 << 10, pongs: make(chan []byte)}
	err = c.write(context.Background())
	q.mu.Lock()
	q.tasks.Disconnect(w, false, now, now)
	q.unlock()
	return err
}

// ServeAs makes a worker serve peer as a producer, and returns the producer's side of the stream.
func ServeAs(ctx context.Context, w *Worker, peer link.Peer) interface {
	Send(f link.Frame) error
	Recv() (link.Frame, error)
} {
	ctx, end := context.WithCancelCause(ctx)
	there, back := make(chan link.Frame, 64), make(chan link.Frame, 64)
	go func() { end(w.serve(ctx, &localStream{ctx, end, there, back, peer})) }()
	return &localStream{ctx, end, back, there, peer}
}

// Remember bounds the tasks that are remembered by their IDs, and the bytes of their results.
func Remember(tasks int, bytes int64) QueueOption {
	return queueOption(func(s *queueSettings) { s.queue.DedupCount, s.queue.DedupBytes = tasks, bytes })
}

// DefaultGrace is how long a queue waits for a worker whose stream has ended.
const DefaultGrace = queue.DefaultGrace

// OwnPeer returns a node as its own worker sees it without the network.
func OwnPeer(node *link.Node) link.Peer { return systemOf(node).ownPeer() }

// Sighted returns the address of a node as its worker sees it without the network, if its queue has
// dialed one address and the addresses in hellos have sent HELLO for that queue before the answer.
func Sighted(node *link.Node, dialed string, hellos ...string) string {
	s, self := systemOf(node), systemOf(node).ownPeer()
	s.sight.begin("q")
	for _, addr := range hellos {
		self.Addr = addr
		s.sight.see("q", self)
	}
	self.Addr = dialed
	s.sight.end("q", &self)
	return s.ownPeer().Addr
}
