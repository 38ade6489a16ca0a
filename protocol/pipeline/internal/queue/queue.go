// Package queue is the producer's side of a stage. It decides which tasks wait, which
// worker has which task, and how each task ends. It starts no goroutine, does no I/O
// and reads no clock: callers pass the time, in nanoseconds since 1970, and write what
// is to be sent.
//
// # Life of a task
//
//	         Add
//	          │
//	keyed ──▶ ready ──▶ held ──▶ ended: acked, dead-lettered, expired,
//	          ▲  ▲        │             canceled or returned
//	          │  └────────┤ released, recalled
//	       delayed ◀──────┘ failed
//
// A task is keyed while another one of its key is ahead of it, ready while it waits for
// a worker with credit, held while a worker has it, and delayed while it must not start
// yet. It may end from any of these states.
//
// # Binding to workers
//
// A task is bound to a worker only if the worker has credit: it holds fewer tasks than
// its window, and less than a frame waits for its writer. Tasks that the writer does not
// take are put back in line. The tasks of a worker are kept in the order in which they
// were sent, and workers begin in that order. When a worker is lost, its first tasks, as
// many as it has slots, may have begun and cost an attempt; the others have not begun.
package queue

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/table"
)

// Defaults of [Options].
const (
	DefaultMaxTasks    = 10_000
	DefaultMaxBytes    = 256 << 20
	DefaultAttempts    = 5
	DefaultGrace       = 5 * time.Second
	DefaultLease       = 30 * time.Second
	DefaultDeadLetters = 10_000
	DefaultDeadBytes   = 64 << 20
	DefaultDedupTime   = 2 * time.Minute
	DefaultDedupCount  = 100_000
	DefaultDedupBytes  = 64 << 20
)

// MaxWindow bounds the tasks that one worker may hold, whatever it grants.
const MaxWindow = 4096

// MaxReleases is how often a task may be given back undone before it is
// dead-lettered; recalls do not count.
const MaxReleases = 100

// Errors of Add.
var (
	ErrFull   = errors.New("the queue is full")
	ErrClosed = errors.New("the queue takes no more tasks")
)

// Log is told the events of tasks, for a queue that must outlive its process. Its methods
// are called in the order of events and must not call the queue. Once the end of a task is
// written, Settle must be called.
type Log interface {
	// Failed reports a failed attempt. The next one may begin at t.NotBefore.
	Failed(t *Task)
	// Ended reports the end of a task, unless it became a dead letter.
	Ended(t *Task)
	// Dead reports that a task became a dead letter, which is kept.
	Dead(t *Task)
	// Buried reports that a dead letter is no longer kept.
	Buried(seq uint64)
	// Forgot reports that an acked task with an ID is no longer remembered.
	Forgot(t *Task)
	// Gone reports that a worker no longer holds anything of the queue.
	Gone(id string)
}

// Options configures a queue. A field that is zero gets its default.
type Options struct {
	MaxTasks int
	MaxBytes int64
	Attempts int
	// Grace is how long a worker whose connection was lost may take to come back.
	Grace       time.Duration
	Lease       time.Duration
	DeadLetters int
	DeadBytes   int64
	DedupTime   time.Duration
	DedupCount  int
	// DedupBytes bounds the bytes of remembered results.
	DedupBytes int64
	// FirstSeq is the number before that of the first task.
	FirstSeq uint64
	// Log is nil for a queue in memory.
	Log  Log
	Rand *rand.Rand
}

func (o *Options) defaults() {
	orInt(&o.MaxTasks, DefaultMaxTasks)
	orInt(&o.MaxBytes, DefaultMaxBytes)
	orInt(&o.Attempts, DefaultAttempts)
	orInt(&o.Grace, DefaultGrace)
	orInt(&o.Lease, DefaultLease)
	orInt(&o.DeadLetters, DefaultDeadLetters)
	orInt(&o.DeadBytes, DefaultDeadBytes)
	orInt(&o.DedupTime, DefaultDedupTime)
	orInt(&o.DedupCount, DefaultDedupCount)
	orInt(&o.DedupBytes, DefaultDedupBytes)
	if o.Rand == nil {
		o.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) //nolint:gosec // a draw of lots, not a secret
	}
}

func orInt[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// Queue holds the tasks of a producer for one stage. It is not safe for concurrent use.
type Queue struct {
	opts Options
	// seq is the number of the last task.
	seq    uint64
	fence  uint64
	served uint64

	tasks table.Table[Task]
	// count and bytes are those of the tasks that have not ended.
	count int
	bytes int64
	ready ready
	keys  map[string]*keyed
	// times are the timers of delayed tasks and of tasks that may expire.
	times [2]timers
	dedup dedup

	earlier
	staff
	// looked is when leases were last looked at, balanced when recalls were.
	looked   int64
	balanced int64

	// ended are the tasks that have ended since the last TakeEnded.
	ended  []*Task
	dead   deadLetters
	closed bool
	stats  Stats
	// oldest lists all tasks in the order in which they were added.
	oldest list
}

// earlier is what a queue has from an earlier run.
type earlier struct {
	// awaited are the workers of that run that have not said what they have. They are given up
	// at giveUp. unsure are the tasks that wait for them.
	awaited map[string]bool
	giveUp  int64
	unsure  places
	// restored is the last number of that run's tasks.
	restored uint64
}

// staff is the workers of a queue.
type staff struct {
	workers map[string]*Worker
	// avail are the workers with credit, idle those of avail that hold nothing.
	avail []*Worker
	idle  []*Worker
	// lost counts the workers without a connection. The first of them is given up at giveUpAt.
	lost     int
	giveUpAt int64
	// wanting is set if tasks were left waiting.
	wanting bool
	// behind counts the workers that hold more tasks than they can run at once, or unsent ones.
	behind int
}

// New returns an empty queue.
func New(opts Options) *Queue {
	opts.defaults()
	q := &Queue{opts: opts, seq: opts.FirstSeq, keys: make(map[string]*keyed), staff: staff{workers: make(map[string]*Worker)}}
	q.times[delayTimer].kind = delayTimer
	q.times[expiryTimer].kind = expiryTimer
	q.dedup.init(&opts)
	q.dead.init(opts.DeadLetters, opts.DeadBytes)
	return q
}

// Room reports whether there is room for a task of size bytes.
func (q *Queue) Room(size int) bool {
	return q.count < q.opts.MaxTasks && (q.count == 0 || q.bytes+int64(size) <= q.opts.MaxBytes)
}

// Len returns how many tasks have not ended.
func (q *Queue) Len() int { return q.count }

// Add adds a task whose fields for the caller are set. Add sets Seq and Added. If a task
// with the same ID was added within the window, Add returns that one, which may have
// ended.
func (q *Queue) Add(t *Task, now int64) (*Task, error) {
	twin, err := q.Reserve(t, now)
	if twin == t && err == nil {
		q.Start(t, now)
	}
	return twin, err
}

// Reserve is the first half of Add: the task gets its number and its room, but is not in
// line yet. Start or Withdraw must follow, in the order of numbers.
func (q *Queue) Reserve(t *Task, now int64) (*Task, error) {
	if q.closed {
		return nil, ErrClosed
	}
	if t.ID != "" {
		if twin := q.dedup.find(t.ID, now); twin != nil {
			q.stats.Duplicates++
			// A canceled task that has not ended is wanted again.
			twin.canceled = twin.canceled && twin.state == stateEnded
			return twin, nil
		}
	}
	if !q.Room(t.size()) {
		return nil, ErrFull
	}
	q.seq++
	t.Seq, t.Added = q.seq, now
	q.admit(t)
	if t.ID != "" {
		q.dedup.add(t, now, now)
	}
	return t, nil
}

// Start puts a reserved task in line.
func (q *Queue) Start(t *Task, now int64) {
	q.stats.Added++
	q.line(t, now)
	q.assign(now)
}

// Withdraw forgets a reserved task, as if it had never been added.
func (q *Queue) Withdraw(t *Task) {
	q.dedup.remove(t)
	q.unlist(t)
	t.state = stateNone
}

// want wakes the writers of workers that grant nothing, so that these are told at once
// that tasks wait.
func (q *Queue) want() {
	for _, w := range q.workers {
		if w.connected && w.window == 0 {
			w.ready.Set()
		}
	}
}

// Restore adds a task of an earlier run, with all its fields as they were. Tasks must be
// restored in the order of their numbers. Nothing is logged.
func (q *Queue) Restore(t *Task, now int64) {
	q.seq = max(q.seq, t.Seq)
	q.restored, t.restored = max(q.restored, t.Seq), true
	q.admit(t)
	if t.ID != "" {
		q.dedup.add(t, now, now)
	}
	q.line(t, now)
}

func (q *Queue) admit(t *Task) {
	t.Priority = min(t.Priority, MaxPriority)
	t.at, t.idx = [2]int64{}, [2]int{-1, -1}
	t.state = stateNew
	q.tasks.Put(t.Seq, t)
	q.oldest.push(t)
	q.count++
	q.bytes += int64(t.size())
}

// unlist undoes admit.
func (q *Queue) unlist(t *Task) {
	q.tasks.Remove(t.Seq)
	q.oldest.remove(t)
	q.count--
	q.bytes -= int64(t.size())
}

func (q *Queue) line(t *Task, now int64) {
	t.state = stateNone
	if at := t.expiry(); at != 0 {
		q.times[expiryTimer].set(t, at)
	}
	if t.canceled {
		if !q.ofKey(t) {
			t.state = stateKeyed
		}
		q.end(t, Canceled, now)
		return
	}
	q.enqueue(t, now, false)
}

// enqueue puts a task where it must wait. A ready task goes to the front if front is set.
func (q *Queue) enqueue(t *Task, now int64, front bool) {
	if !q.ofKey(t) {
		t.state = stateKeyed
		return
	}
	if t.restored && len(q.awaited) > 0 {
		t.state = stateUnsure
		q.unsure.push(t)
		return
	}
	if t.NotBefore > now {
		t.state = stateDelayed
		q.times[delayTimer].set(t, t.NotBefore)
		return
	}
	t.state = stateReady
	q.ready.push(t, front)
}

// Close makes the queue accept no more tasks.
func (q *Queue) Close() { q.closed = true }

// Return ends every task that was started, and returns them in the order in which they
// were added. Workers may be running those for which Began reports true.
func (q *Queue) Return(now int64) []*Task {
	var out []*Task
	for t := q.oldest.head; t != nil; {
		next := t.line.next
		if t.state != stateNew {
			t.began = t.Began()
			if t.state == stateHeld {
				q.unbind(t)
			}
			out = append(out, t)
			q.end(t, Returned, now)
		}
		t = next
	}
	return out
}

// Began reports whether a worker may be running a task, or may have been when it ended.
func (t *Task) Began() bool {
	return t.began || t.state == stateUnsure || t.state == stateHeld && t.taken || t.state == stateEnded && t.End == Acked
}

// TakeEnded appends to dst the tasks that have ended since it was last called.
func (q *Queue) TakeEnded(dst []*Task) []*Task {
	dst = append(dst, q.ended...)
	clear(q.ended)
	q.ended = q.ended[:0]
	return dst
}
