package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// End is how a task ended.
type End uint8

// The ends of tasks.
const (
	// EndOpen means that the task has not ended.
	EndOpen         = End(queue.Open)
	EndAcked        = End(queue.Acked)
	EndDeadLettered = End(queue.DeadLettered)
	EndExpired      = End(queue.Expired)
	EndCanceled     = End(queue.Canceled)
	// EndReturned means that the queue was closed before the task was done.
	EndReturned = End(queue.Returned)
	// Kept is the end of a task of a durable queue that was closed: the task is on disk and
	// continues when the queue is opened again.
	Kept = EndReturned + 1
	// Undecided is the end of a task of a durable queue whose disk failed, when it is not known
	// what is on the disk. The task may be there when the queue is opened again. It is then done,
	// even if it was done before.
	Undecided = EndReturned + 2
)

// String returns the end in words, such as "dead-lettered".
func (e End) String() string {
	switch e { //nolint:exhaustive // the others are the queue's
	case Kept:
		return "kept"
	case Undecided:
		return "undecided"
	}
	return queue.End(e).String()
}

// ErrMayRun is part of the error of a push whose task was not accepted but may still be done:
// the disk of a durable queue failed, or the context ended, before it was known that the task
// is on disk. A task that is on disk is done, at the latest when the queue is opened again.
var ErrMayRun = errors.New("it may be on disk, and is done then, perhaps when the queue is opened again")

// mayRun wraps the error of a push whose task may still be done.
func mayRun(err error) error { return fmt.Errorf("%w: %w", ErrMayRun, err) }

// Outcome says how a task ended.
type Outcome struct {
	End End
	// Worker is the instance that acked the task.
	Worker   string
	Attempts int
	// Cause says why the last attempt failed, if any did.
	Cause string
	// History lists the deliveries that did not succeed, oldest first.
	History []Attempt
}

// Attempt is one delivery of a task that did not succeed.
type Attempt struct {
	// Worker is the instance that the task was delivered to.
	Worker       string
	Began, Ended time.Time
	Cause        string
	// Counted reports whether the delivery used up an attempt. One that was given back undone did not.
	Counted bool
}

// Future is an accepted task, which may not have ended yet.
type Future struct {
	entry *entry
	queue *Queue
}

// entry is a task with those who wait for it, in one allocation.
type entry struct {
	queue.Task
	owner *Queue
	// accepted is closed when the task is on disk or refused. It is nil for a queue in memory.
	accepted chan struct{}
	// wanted counts the pushes of the task. The queue's lock guards it.
	wanted int

	mu    sync.Mutex // guards the fields below
	ended bool
	// sure is set when accepted is closed.
	sure bool
	// never is set if the task was refused.
	never bool
	// failure says why the task was refused, or why its end is not known.
	failure error
	// kept is set if there is a failure but the task is on disk.
	kept bool
	// done is nil until somebody asks for it.
	done chan struct{}
	// call1 is the channel of the first push that waits; calls are those of the others.
	call1 chan struct{}
	calls []chan struct{}
}

// settle tells those who wait for tasks that the tasks have ended.
func settle(tasks []*queue.Task) {
	for _, t := range tasks {
		if e, ok := t.Owner.(*entry); ok {
			e.settle(nil)
		}
	}
}

// accept notes that the task is on disk.
func (e *entry) accept() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.accepted != nil && !e.sure {
		e.sure = true
		close(e.accepted)
	}
}

// refuse ends the task for those who wait for it, with an error.
func (e *entry) refuse(err error) {
	e.mu.Lock()
	e.never = e.never || !e.sure
	e.mu.Unlock()
	e.settle(err)
	e.accept()
}

// keep ends the task for those who wait for it with an error, while it stays on disk.
func (e *entry) keep(err error) {
	e.mu.Lock()
	e.kept = !e.ended
	e.mu.Unlock()
	e.refuse(err)
}

// refused returns why the task was not accepted, or nil.
func (e *entry) refused() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.never {
		return e.failure
	}
	return nil
}

// failed returns why the task was refused or its end is not known, or nil.
func (e *entry) failed() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failure
}

// settle tells those who wait that the task has ended, or with a failure why its end is not known.
func (e *entry) settle(failure error) {
	e.mu.Lock()
	if e.ended {
		e.mu.Unlock()
		return
	}
	e.ended, e.failure = true, failure
	done, first, calls := e.done, e.call1, e.calls
	e.call1, e.calls = nil, nil
	e.mu.Unlock()
	if done != nil {
		close(done)
	}
	if first != nil {
		first <- struct{}{}
	}
	for _, c := range calls {
		c <- struct{}{}
	}
}

// call makes c receive a token when the task ends. If the task has ended already, call reports true
// and c receives none.
func (e *entry) call(c chan struct{}) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.ended:
	case e.call1 == nil:
		e.call1 = c
	default:
		e.calls = append(e.calls, c)
	}
	return e.ended
}

// hangUp undoes call. It reports whether it is too late: c holds a token, or is about to.
func (e *entry) hangUp(c chan struct{}) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.call1 == c {
		e.call1 = nil
		return false
	}
	for i, o := range e.calls {
		if o == c {
			e.calls = append(e.calls[:i], e.calls[i+1:]...)
			return false
		}
	}
	return true
}

// Done returns a channel that is closed when the task has ended.
func (f *Future) Done() <-chan struct{} {
	e := f.entry
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done == nil {
		e.done = make(chan struct{})
		if e.ended {
			close(e.done)
		}
	}
	return e.done
}

// ID returns the unique ID of the task, the same as [Task.ID].
func (f *Future) ID() string { return taskID(f.queue.id, f.entry.Seq) }

// Wait waits until the task or ctx has ended, and returns nil if the task is done. The
// end of ctx does not affect the task.
//
// Errors: Aborted for a dead letter, DeadlineExceeded for a task that expired, Canceled
// for one that was canceled, Unavailable for one that its queue returned or keeps on disk,
// DataLoss for one that is [Undecided]. If ctx ends, the error has the code of ctx's error
// and its cause; if the deadline of ctx has passed and no worker is connected, it also says
// why nobody takes the task. [Future.Outcome] says more.
func (f *Future) Wait(ctx context.Context) error {
	select {
	case <-f.Done():
		return f.entry.err()
	case <-ctx.Done():
		return link.Errorf(link.CodeOf(ctx.Err()), "waiting for task %s: %w", f.ID(), f.queue.orUnserved(ctx))
	}
}

// Outcome returns how the task ended. End is Open if it has not ended.
func (f *Future) Outcome() Outcome {
	f.entry.mu.Lock()
	ended, failure, kept := f.entry.ended, f.entry.failure, f.entry.kept
	f.entry.mu.Unlock()
	switch {
	case !ended:
		return Outcome{}
	case failure == nil:
		return outcome(&f.entry.Task)
	case kept:
		return Outcome{End: Kept, Cause: failure.Error()}
	default:
		return Outcome{End: Undecided, Cause: failure.Error()}
	}
}

// Cancel ends the task unless it is done first. A task that has not begun does not begin;
// if its handler runs, the context of the handler is canceled.
func (f *Future) Cancel() { f.queue.cancel(f.entry.Seq) }

func outcome(t *queue.Task) Outcome {
	return Outcome{End: End(t.End), Worker: t.Worker, Attempts: t.Attempts, Cause: t.Cause, History: history(t.History)}
}

func history(from []queue.Attempt) []Attempt {
	var out []Attempt
	for _, a := range from {
		out = append(out, Attempt{a.Worker, time.Unix(0, a.Began), time.Unix(0, a.Ended), a.Cause, a.Counted})
	}
	return out
}

// err returns the error of a task that has ended, or nil if it was acked.
func (e *entry) err() error {
	if err := e.failed(); err != nil {
		return err
	}
	id := func() string { return taskID(e.owner.id, e.Seq) + " of " + e.owner.route.String() }
	switch e.End {
	case queue.Acked:
		return nil
	case queue.DeadLettered:
		return link.Errorf(link.Aborted, "task %s is a dead letter after %d attempts: %s", id(), e.Attempts, e.Cause)
	case queue.Expired:
		return link.Errorf(link.DeadlineExceeded, "task %s expired after %d attempts", id(), e.Attempts)
	case queue.Canceled:
		return link.Errorf(link.Canceled, "task %s was canceled", id())
	case queue.Returned, queue.Open:
	}
	return link.Errorf(link.Unavailable, "task %s was returned undone: its queue was closed", id())
}

// FutureResult is a [Future] of a task with a result.
type FutureResult[R any] struct {
	Future

	codec codec.Codec
}

// Result waits as [Future.Wait] does and returns the task's result.
func (f *FutureResult[R]) Result(ctx context.Context) (R, error) {
	var r R
	if err := f.Wait(ctx); err != nil {
		return r, err
	}
	return r, decodeResult(f.codec, f.entry, &r)
}

func decodeResult[R any](c codec.Codec, e *entry, r *R) error {
	if err := c.Decode(e.Result, r); err != nil {
		return link.Errorf(link.Internal, "decoding the result of task %s into %T: %w", taskID(e.owner.id, e.Seq), *r, err)
	}
	return nil
}
