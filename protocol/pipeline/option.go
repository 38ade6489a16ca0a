package pipeline

import (
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/wal"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// pullSettings collects the options of a worker.
type pullSettings struct {
	pool pool.Options
	// The zero clock stands for that of the system.
	clock clock
}

// PullOption configures a worker.
type PullOption interface{ applyPull(s *pullSettings) }

type pullOption func(s *pullSettings)

func (f pullOption) applyPull(s *pullSettings) { f(s) }

// Concurrency sets how many handlers may run at a time, at most 1024; 0 means 16. Handlers
// that wait for other services need more; handlers that compute need no more than there are
// processors.
func Concurrency(n int) PullOption { return pullOption(func(s *pullSettings) { s.pool.Slots = n }) }

// maxConcurrency bounds Concurrency.
const maxConcurrency = 1024

// MaxRun sets how long a handler may run; 0 means 15 minutes. After that its context
// ends and the attempt has failed. Until the handler returns, it still counts against
// [Concurrency], and no other task of its key begins. [Extend] gives a handler more time.
func MaxRun(d time.Duration) PullOption {
	return pullOption(func(s *pullSettings) { s.pool.MaxRun = max(d, 0) })
}

// Batch lets a handler of [PullBatch] take up to k tasks at once; 0 means one. The handler
// begins when k tasks wait, or when the first has waited for linger.
func Batch(k int, linger time.Duration) PullOption {
	return pullOption(func(s *pullSettings) { s.pool.Batch, s.pool.Linger = max(k, 0), max(linger, 0) })
}

// pushSettings collects the options of a task.
type pushSettings struct {
	task     *queue.Task
	headers  []pair
	delay    time.Duration
	ttl      time.Duration
	deadline time.Time
	failFast bool
}

type pair struct{ name, value string }

// PushOption configures a task.
type PushOption interface{ applyPush(s *pushSettings) }

type pushOption func(s *pushSettings)

func (f pushOption) applyPush(s *pushSettings) { f(s) }

// Key sets the key of the task, of at most 255 bytes. Tasks of one key and queue are done
// one at a time, in the order in which they were accepted: the next begins when the handler
// of the one before has returned, or its worker is lost. A handler that never returns blocks
// its key.
func Key(key string) PushOption { return pushOption(func(s *pushSettings) { s.task.Key = key }) }

// Tenant sets on whose behalf the task is done, in at most 255 bytes. Tenants with waiting
// tasks get equal shares of the workers, however many tasks each has.
func Tenant(name string) PushOption {
	return pushOption(func(s *pushSettings) { s.task.Tenant = name })
}

// ID names the task, in at most 255 bytes. A task that is pushed to the queue with the ID
// of one that has not ended, or that was pushed within the last two minutes, is the same
// task and has its outcome, unless the first was canceled or has expired. The queue remembers
// at most 100,000 such tasks and 64 MiB of results. A [Durable] queue still knows the IDs
// when it is opened again.
func ID(id string) PushOption { return pushOption(func(s *pushSettings) { s.task.ID = id }) }

// Priority sets the priority of the task, from 0 to 9, higher first. The default is 4.
// A waiting task counts as one priority higher for each 10 s.
func Priority(p uint8) PushOption {
	return pushOption(func(s *pushSettings) { s.task.Priority = p })
}

// Delay makes the task begin no earlier than d from now.
func Delay(d time.Duration) PushOption { return pushOption(func(s *pushSettings) { s.delay = d }) }

// TTL sets how long the task may take to begin. A task that has not begun by then
// expires. Zero means that it never expires.
func TTL(d time.Duration) PushOption { return pushOption(func(s *pushSettings) { s.ttl = d }) }

// Deadline sets when the task must be done. The handler's context ends then, and the
// task expires; a task with a key expires only once the handler has returned.
func Deadline(t time.Time) PushOption {
	return pushOption(func(s *pushSettings) { s.deadline = t })
}

// Header adds a header to the task, which may have at most 64, of 16 KiB together.
// [Task.Header] returns its value.
func Header(name, value string) PushOption {
	return pushOption(func(s *pushSettings) { s.headers = append(s.headers, pair{name, value}) })
}

// FailFast makes a push fail with link.Unavailable if no worker is connected, instead of
// waiting for one.
func FailFast() PushOption { return pushOption(func(s *pushSettings) { s.failFast = true }) }

// defaultPriority is the priority of tasks without [Priority].
const defaultPriority = 4

// queueSettings collects the options of a queue.
type queueSettings struct {
	// spill is the folder of [Spill].
	spill  string
	queue  queue.Options
	calls  []link.CallOption
	onDead func(DeadLetter)
	// folder is the folder of [Durable].
	folder   string
	syncEnds bool
	salvage  bool
	// The zero clock stands for that of the system.
	clock clock
	// disk opens a log. It is nil for package wal.
	disk func(dir string, opts wal.Options, replay func(wal.Record) error) (disk, error)
}

// QueueOption configures a queue.
type QueueOption interface{ applyQueue(s *queueSettings) }

type queueOption func(s *queueSettings)

func (f queueOption) applyQueue(s *queueSettings) { f(s) }

// Capacity bounds the tasks in the queue that have not ended, in memory or on disk, by
// their number and their bytes. Zero means 10,000 tasks and 256 MiB. Pushes wait while
// the queue is full.
func Capacity(tasks int, bytes int64) QueueOption {
	return queueOption(func(s *queueSettings) { s.queue.MaxTasks, s.queue.MaxBytes = max(tasks, 0), max(bytes, 0) })
}

// Attempts sets after how many failed attempts a task is a dead letter; 0 means 5.
func Attempts(n int) QueueOption {
	return queueOption(func(s *queueSettings) { s.queue.Attempts = max(n, 0) })
}

// KeepDeadLetters bounds the dead letters that the queue keeps; zero means 10,000 and
// 64 MiB. The oldest are dropped first, and counted.
func KeepDeadLetters(tasks int, bytes int64) QueueOption {
	return queueOption(func(s *queueSettings) { s.queue.DeadLetters, s.queue.DeadBytes = max(tasks, 0), max(bytes, 0) })
}

// OnDeadLetter calls f for each task that becomes a dead letter. Without this option it is
// logged. A [Durable] queue calls f once the dead letter is written, so that it is not
// reported twice. After a crash, see [Queue.DeadLetters] for those that may not have been
// reported. Several calls may run at once. The queue waits for f, so f must not block and
// must not wait for the queue, as a push, Redrive and Close do.
func OnDeadLetter(f func(DeadLetter)) QueueOption {
	return queueOption(func(s *queueSettings) { s.onDead = f })
}

// RouteVia passes options to the streams that the queue opens, such as link.OnTags and
// link.InZone, which choose the workers.
func RouteVia(opts ...link.CallOption) QueueOption {
	return queueOption(func(s *queueSettings) { s.calls = append(s.calls, opts...) })
}

// Durable keeps the queue in folder, which only one queue at a time may have open. The
// folder is created if only its last element is missing. It must be a real folder of mode
// 0700 that belongs to the user of the process. A task is accepted once it is on disk. How it
// ended is reported once that is written, see [SyncEnds]. A queue that is opened again
// continues with all tasks that have not ended, and with its dead letters. It first asks the
// workers of the earlier run what they still run, and waits at most 5 s for those that do not
// answer. The contents of the folder are not encrypted.
func Durable(folder string) QueueOption {
	return queueOption(func(s *queueSettings) { s.folder = folder })
}

// SyncEnds makes a [Durable] queue report how a task ended only once the end is on disk. Without
// it, the end is reported once it is written, and synced within 10 ms: after a power cut, but not
// after a crash of the process, tasks that ended just before may be done again. It has no effect
// on a queue in memory.
func SyncEnds() QueueOption { return queueOption(func(s *queueSettings) { s.syncEnds = true }) }

// Salvage lets a [Durable] queue be opened although its folder is damaged: what cannot be
// read is skipped and logged. Tasks that were there are lost, and others may be done again.
// It is meant to be used once, by an operator who has a copy of the folder.
func Salvage() QueueOption { return queueOption(func(s *queueSettings) { s.salvage = true }) }
