// Package queue is the producer's side of a stage: which tasks wait, which worker
// has which, and how each of them ends. It starts no goroutine, does no I/O and
// reads no clock: callers pass the time, in nanoseconds since 1970, and write what
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
// A task is keyed while another of its key is ahead of it, ready when it waits for
// a worker with credit, held when one has it, and delayed when it is not to start
// yet. From any of these it may end.
//
// # Ties to workers
//
// A task binds to a worker only if that has credit: fewer tasks held than its
// window, and less than a frame that its writer has not taken. What its writer does
// not come for is put back in line. What a worker holds is kept in the order in which it was sent, and
// workers begin in that order; when a worker is lost, its first slots tasks may
// have begun and cost an attempt, the others have not.
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

// Log is told what happens to tasks, for a queue that must outlive its process. It
// is called in the order of events and must not call the queue. Once the end of a task
// is written, Settle must be called.
type Log interface {
	Failed(t *Task)    // an attempt was counted; t.NotBefore says when the next may begin
	Ended(t *Task)     // but see Dead
	Dead(t *Task)      // it is kept as a dead letter
	Buried(seq uint64) // the dead letter is no longer kept
	Forgot(t *Task)    // a task that was acked and has an ID is not remembered any more
	Gone(id string)    // a worker has nothing of the queue any more
}

// Options of a queue; the zero value of each field is its default.
type Options struct {
	MaxTasks    int
	MaxBytes    int64
	Attempts    int
	Grace       time.Duration // for a worker whose connection was lost
	Lease       time.Duration
	DeadLetters int
	DeadBytes   int64
	DedupTime   time.Duration
	DedupCount  int
	DedupBytes  int64  // bytes of results that are remembered
	FirstSeq    uint64 // number of the first task minus one
	Log         Log    // nil for a queue in memory
	Rand        *rand.Rand
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

// Queue is a queue. It is not safe for concurrent use.
type Queue struct {
	opts   Options
	seq    uint64 // the number of the last task
	fence  uint64
	served uint64

	tasks table.Table[Task]
	count int   // tasks that have not ended
	bytes int64 // the bytes of these tasks
	ready ready
	keys  map[string]*keyed
	times [2]timers // delayed tasks, and tasks that may expire
	dedup dedup

	awaited  map[string]bool // workers of an earlier run that have not said what they have
	giveUp   int64           // when they are not awaited any more
	unsure   places          // tasks that wait for that
	restored uint64          // the last number of the earlier run's tasks

	workers  map[string]*Worker
	avail    []*Worker // those with credit
	idle     []*Worker // those of avail that hold nothing
	lost     int       // workers without a connection
	giveUpAt int64     // when the first of these is given up
	wanting  bool      // tasks were left waiting
	behind   int       // workers that hold more than they can run at once, or something that they were not sent
	looked   int64     // when leases were looked at
	balanced int64     // when recalls were

	ended  []*Task // since the last TakeEnded
	dead   deadLetters
	closed bool
	stats  Stats
	oldest list // all tasks, in the order they were added
}

// New returns an empty queue.
func New(opts Options) *Queue {
	opts.defaults()
	q := &Queue{opts: opts, seq: opts.FirstSeq, keys: make(map[string]*keyed), workers: make(map[string]*Worker)}
	q.times[delayTimer].kind = delayTimer
	q.times[expiryTimer].kind = expiryTimer
	q.dedup.init(&opts)
	q.dead.init(opts.DeadLetters, opts.DeadBytes)
	return q
}

// Room reports whether a task of size bytes would be taken.
func (q *Queue) Room(size int) bool {
	return q.count < q.opts.MaxTasks && (q.count == 0 || q.bytes+int64(size) <= q.opts.MaxBytes)
}

// Len returns how many tasks have not ended.
func (q *Queue) Len() int { return q.count }

// Add takes in a task, of which the fields for the caller are set, but for Seq and
// Added. If a task with the same ID was added within the window, it returns that
// one: it may have ended.
func (q *Queue) Add(t *Task, now int64) (*Task, error) {
	twin, err := q.Reserve(t, now)
	if twin == t && err == nil {
		q.Start(t, now)
	}
	return twin, err
}

// Reserve is the first half of Add: the task has its number and its room, and is not
// in line yet. Start or Withdraw must follow, in the order of numbers.
func (q *Queue) Reserve(t *Task, now int64) (*Task, error) {
	if q.closed {
		return nil, ErrClosed
	}
	if t.ID != "" {
		if twin := q.dedup.find(t.ID, now); twin != nil {
			q.stats.Duplicates++
			twin.canceled = twin.canceled && twin.state == stateEnded // it is wanted again
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

// Start puts a task in line.
func (q *Queue) Start(t *Task, now int64) {
	q.stats.Added++
	q.line(t, now)
	q.assign(now)
}

// Withdraw forgets a task that was not started; it has not ended, it never was.
func (q *Queue) Withdraw(t *Task) {
	q.dedup.remove(t)
	q.unlist(t)
	t.state = stateNone
}

// want wakes the workers that grant nothing, so that they are told at once that tasks
// wait.
func (q *Queue) want() {
	for _, w := range q.workers {
		if w.connected && w.window == 0 {
			w.wake()
		}
	}
}

// Restore takes in a task of an earlier run, with all its fields as they were.
// The tasks must come in the order of their numbers; nothing is logged.
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

// enqueue puts a task where it waits: at the front if it was in line before.
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

// Close lets no more tasks in.
func (q *Queue) Close() { q.closed = true }

// Return ends every task, and lists them in the order in which they were added: a
// worker may be at those that Began reports.
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

// Began reports whether a worker may be at a task, or was when it ended.
func (t *Task) Began() bool {
	return t.began || t.state == stateUnsure || t.state == stateHeld && t.taken || t.state == stateEnded && t.End == Acked
}

// TakeEnded appends the tasks that have ended since it was called last.
func (q *Queue) TakeEnded(dst []*Task) []*Task {
	dst = append(dst, q.ended...)
	clear(q.ended)
	q.ended = q.ended[:0]
	return dst
}
