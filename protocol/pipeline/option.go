package pipeline

import (
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// pullSettings is what the options of a worker say.
type pullSettings struct {
	pool  pool.Options
	allow func(link.Peer) error
	clock clock // a zero one is that of the system
}

// PullOption changes one worker.
type PullOption interface{ applyPull(s *pullSettings) }

type pullOption func(s *pullSettings)

func (f pullOption) applyPull(s *pullSettings) { f(s) }

// Slots is how many handlers run at once; 0 is 16. Handlers that wait for others want
// more, those that compute want no more than there are processors.
func Slots(n int) PullOption { return pullOption(func(s *pullSettings) { s.pool.Slots = max(n, 0) }) }

// MaxRun is how long a handler may run; 0 is 15 minutes. After that its context ends,
// the attempt has failed, and its slot stays taken until it returns; so does the key of
// its task, if that has one. [Extend] gives a handler more.
func MaxRun(d time.Duration) PullOption {
	return pullOption(func(s *pullSettings) { s.pool.MaxRun = max(d, 0) })
}

// Batch lets a handler of [PullBatch] take up to k tasks at once: when k wait, or
// the first has waited for linger.
func Batch(k int, linger time.Duration) PullOption {
	return pullOption(func(s *pullSettings) { s.pool.Batch, s.pool.Linger = max(k, 0), max(linger, 0) })
}

// Authorize lets f decide who may push to the worker: it returns why a peer may not,
// nil if it may. Without it every peer of the mesh may.
func Authorize(f func(peer link.Peer) error) PullOption {
	return pullOption(func(s *pullSettings) { s.allow = f })
}

// pushSettings is what the options of a task say.
type pushSettings struct {
	task     *queue.Task
	headers  []pair
	delay    time.Duration
	ttl      time.Duration
	deadline time.Time
	failFast bool
}

type pair struct{ name, value string }

// PushOption changes one task.
type PushOption interface{ applyPush(s *pushSettings) }

type pushOption func(s *pushSettings)

func (f pushOption) applyPush(s *pushSettings) { f(s) }

// Key says what the task is about, in at most 255 bytes: tasks of one key and queue
// are done one at a time, in the order in which they were accepted: the next begins when
// the handler of the one before has returned, or its worker is lost. A handler that never
// returns holds up its key.
func Key(key string) PushOption { return pushOption(func(s *pushSettings) { s.task.Key = key }) }

// Tenant says on whose behalf the task is done, in at most 255 bytes. Tenants whose
// tasks wait have equal shares of the workers, however many tasks each has.
func Tenant(name string) PushOption {
	return pushOption(func(s *pushSettings) { s.task.Tenant = name })
}

// ID names the task, in at most 255 bytes: another with the same ID that is pushed to
// the queue while the first is there, or within two minutes (100,000 tasks, 64 MiB of
// results), is the same task, and has its outcome; unless that was canceled or expired. A
// [Durable] queue knows it when it is opened again.
func ID(id string) PushOption { return pushOption(func(s *pushSettings) { s.task.ID = id }) }

// Priority is from 0 to 9, higher first; 4 is that of tasks that say none. A task
// that waits counts as one priority higher for each 10 s.
func Priority(p uint8) PushOption {
	return pushOption(func(s *pushSettings) { s.task.Priority = p })
}

// Delay lets the task begin no earlier than d from now.
func Delay(d time.Duration) PushOption { return pushOption(func(s *pushSettings) { s.delay = d }) }

// TTL is how long the task is worth beginning: one that has not begun by then
// expires. Zero means that it never does.
func TTL(d time.Duration) PushOption { return pushOption(func(s *pushSettings) { s.ttl = d }) }

// Deadline is when the task must be done: the handler's context ends then, and the
// task expires; if it has a key, once the handler has returned.
func Deadline(t time.Time) PushOption {
	return pushOption(func(s *pushSettings) { s.deadline = t })
}

// Header sends a pair of text with the task. There may be 64.
func Header(name, value string) PushOption {
	return pushOption(func(s *pushSettings) { s.headers = append(s.headers, pair{name, value}) })
}

// FailFast makes a push fail with link.Unavailable if no worker is connected, where
// the task would else wait for one.
func FailFast() PushOption { return pushOption(func(s *pushSettings) { s.failFast = true }) }

// defaultPriority is that of tasks that say none.
const defaultPriority = 4

// queueSettings is what the options of a queue say.
type queueSettings struct {
	spill   string // folder
	queue   queue.Options
	calls   []link.CallOption
	onDead  func(DeadLetter)
	folder  string
	salvage bool
	clock   clock // a zero one is that of the system
	mode    Mode
	disk    func(dir string, opts wal.Options, replay func(wal.Record) error) (disk, error) // nil is that of package wal
}

// QueueOption changes one queue.
type QueueOption interface{ applyQueue(s *queueSettings) }

type queueOption func(s *queueSettings)

func (f queueOption) applyQueue(s *queueSettings) { f(s) }

// Capacity bounds what has not ended in the queue, in memory or on disk: tasks, and
// bytes of them. Zero is 10,000 and 256 MiB. Pushes wait when it is reached.
func Capacity(tasks int, bytes int64) QueueOption {
	return queueOption(func(s *queueSettings) { s.queue.MaxTasks, s.queue.MaxBytes = max(tasks, 0), max(bytes, 0) })
}

// Attempts is how often a task may fail before it is a dead letter; 0 is 5.
func Attempts(n int) QueueOption {
	return queueOption(func(s *queueSettings) { s.queue.Attempts = max(n, 0) })
}

// KeepDeadLetters bounds the dead letters that the queue keeps; zero is 10,000 and 64
// MiB. The oldest go first, and are counted.
func KeepDeadLetters(tasks int, bytes int64) QueueOption {
	return queueOption(func(s *queueSettings) { s.queue.DeadLetters, s.queue.DeadBytes = max(tasks, 0), max(bytes, 0) })
}

// OnDeadLetter calls f for each task that becomes a dead letter, which is logged else; for
// a [Durable] queue once that is written, so that it is not told twice. After a crash look
// at [Queue.DeadLetters] for those that may not have been told.
// Several calls may run at once. It must not block, and not wait for the queue, as a
// push, Redrive and Close do: what moves the queue on waits for it.
func OnDeadLetter(f func(DeadLetter)) QueueOption {
	return queueOption(func(s *queueSettings) { s.onDead = f })
}

// Via gives options to the streams that the queue opens, such as link.OnTags and
// link.InZone, which choose the workers.
func Via(opts ...link.CallOption) QueueOption {
	return queueOption(func(s *queueSettings) { s.calls = append(s.calls, opts...) })
}

// Mode is what a durable queue promises.
type Mode uint8

// The modes. In both a task is accepted when it is on disk, and not sooner.
const (
	// GroupCommit tells how a task ended when that is written, and syncs it within 10
	// ms: after a power cut, but not after a crash of the process, tasks that ended
	// just before may be done again.
	GroupCommit Mode = iota
	// EveryTask tells how a task ended when that is on disk.
	EveryTask
)

// Durable keeps the queue in folder, which one queue at a time may have open, and
// which is made if only its last element is missing. The folder must be a real one of
// mode 0700 that belongs to the user of the process. A queue that is opened again
// goes on with all tasks that have not ended, and its dead letters. It asks the workers
// of the earlier run first what they still run, and waits 5 s at most for those that do not
// answer. What is in the folder is not encrypted.
func Durable(folder string, mode Mode) QueueOption {
	return queueOption(func(s *queueSettings) { s.folder, s.mode = folder, mode })
}

// Salvage lets a [Durable] queue be opened whose folder is damaged: what cannot be read
// is skipped, and logged. Tasks that were there are lost, and others may be done again.
// It is for one time, by a person who has a copy of the folder.
func Salvage() QueueOption { return queueOption(func(s *queueSettings) { s.salvage = true }) }
