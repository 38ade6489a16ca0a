package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
	"github.com/linkmesh/link/protocol/pipeline/internal/pool"
)

// verdict is an error of a handler that says what is to become of the task.
type verdict struct {
	verb  frame.Verb
	delay time.Duration
	cause error
}

// Error implements error.
func (v *verdict) Error() string {
	switch v.verb { //nolint:exhaustive // the others are not errors
	case frame.Retry:
		return "retry: " + v.cause.Error()
	case frame.Release:
		return "release: " + v.cause.Error()
	default:
		return "reject: " + v.cause.Error()
	}
}

// Unwrap returns the cause.
func (v *verdict) Unwrap() error { return v.cause }

// Retry is what a handler returns for a task that failed and is to be tried again
// after delay, at most a day. It counts as an attempt, as any other error does;
// those wait as the producer's backoff says.
func Retry(delay time.Duration, cause error) error {
	return &verdict{frame.Retry, max(delay, 0), orUnknown(cause)}
}

// Release is what a handler returns for a task that it has not begun and cannot do
// here: it goes to another worker, if there is one. It does not count as an attempt. A task
// that is released a hundred times is a dead letter.
func Release(reason string) error {
	return &verdict{frame.Release, 0, errors.New(reason)}
}

// Reject is what a handler returns for a task that can never be done: it is a dead
// letter at once.
func Reject(cause error) error { return &verdict{frame.Reject, 0, orUnknown(cause)} }

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no cause was given")
	}
	return err
}

// outcomeOf is what a handler's error says.
func outcomeOf(err error) frame.Outcome {
	if err == nil {
		return frame.Outcome{Verb: frame.Ack}
	}
	if v, ok := errors.AsType[*verdict](err); ok {
		return frame.Outcome{Verb: v.verb, Delay: v.delay, Data: clip(v.cause.Error())}
	}
	return frame.Outcome{Verb: frame.Retry, Delay: -1, Data: clip(err.Error())}
}

// clip is a text as it is sent.
func clip(s string) []byte { return []byte(s[:min(len(s), frame.MaxCause)]) }

// Task says which task a handler runs.
type Task struct {
	Key      string
	Name     string // what the producer named it with [ID], "" if it did not
	Attempt  int    // from 1
	Delivery int    // from 1: how often it was sent to a worker
	// Fence is higher for each later delivery of any task of a queue. A store that
	// keeps the highest it has seen and refuses lower ones is safe from a worker that
	// was given up and runs on. It also grows from one run of a [Durable] queue to the
	// next, and from a queue in memory to those that the process makes later, whatever the
	// system's clock is set to; from a queue in memory to that of the next process unless the
	// clock was set back in between.
	Fence    uint64
	Producer string // service of the producer's identity

	from    share.Key
	queue   string
	seq     uint64
	headers []frame.Pair
}

// ID returns what tells the task from all others, the same in each delivery: the
// queue that it comes from and its number there. Whoever may push can claim the name of a queue of
// another: a handler that keeps which tasks are done keeps the Producer with it. That helps where
// identities are proven, in production. In the dev and the cluster-secret tier any member can claim
// the name of a service as well, so that both can be another one's: a handler that must not be
// deceived by members needs the production tier.
func (t *Task) ID() string { return taskID(t.queue, t.seq) }

// passedID is the ID of what a stage makes of the task, which is that of no other producer's.
func (t *Task) passedID() string {
	sum := sha256.Sum256([]byte(t.from.Name + " " + t.from.Place))
	return hex.EncodeToString(sum[:passedBytes]) + "-" + t.ID()
}

// passedBytes is how much of the hash of a producer is in the IDs of what is passed on: nobody
// finds another one with the same, and an ID has 255 bytes.
const passedBytes = 16

func taskID(queue string, seq uint64) string { return queue + "-" + strconv.FormatUint(seq, 10) }

// Header returns the value of a header, "" if there is none.
func (t *Task) Header(name string) string {
	for _, p := range t.headers {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// taskContext is the context of a handler: it knows its task and its deadline.
type taskContext struct {
	context.Context //nolint:containedctx // it is a context

	worker   *Worker
	task     *pool.Task
	cancel   context.CancelCauseFunc
	deadline time.Time
	info     Task
}

type taskKey struct{}

// Value implements context.Context.
func (c *taskContext) Value(key any) any {
	if _, ok := key.(taskKey); ok {
		return c
	}
	return c.Context.Value(key)
}

func (c *taskContext) extend(d time.Duration) { c.worker.extend(c.task, d) }

// Deadline implements context.Context.
func (c *taskContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// TaskOf returns which task the handler with this context runs; nil elsewhere, and
// for handlers of batches, which are given theirs.
func TaskOf(ctx context.Context) *Task {
	if c, ok := ctx.Value(taskKey{}).(*taskContext); ok {
		return &c.info
	}
	return nil
}

// Extend lets the handler with this context run for so much longer from now, if that
// is later than [MaxRun] allows. The lease of the task is extended without that, for
// as long as the handler may run. In a batch it extends all tasks, or with the context
// of an [Item] that one.
func Extend(ctx context.Context, d time.Duration) {
	if c, ok := ctx.Value(taskKey{}).(interface{ extend(d time.Duration) }); ok {
		c.extend(d)
	}
}

// panicked is the error of a handler that panicked. Where is in the log of its own node.
func (w *Worker) panicked(v any) error {
	w.node.Logger().Error("pipeline: a handler panicked", "stage", w.route.String(), "panic", v, "stack", string(debug.Stack()))
	return fmt.Errorf("the handler panicked: %v", v)
}
