package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// End is how a task ended.
type End uint8

// The ends of tasks.
const (
	// EndOpen means that the task has not ended.
	EndOpen = End(queue.Open)
	// EndAcked means that a worker has done the task.
	EndAcked = End(queue.Acked)
	// EndDeadLettered means that the task has failed for good; see [Queue.DeadLetters].
	EndDeadLettered = End(queue.DeadLettered)
	// EndExpired means that the time of [TTL] or [Deadline] was over.
	EndExpired = End(queue.Expired)
	// EndCanceled means that the task was canceled, or that its push gave up waiting for it.
	EndCanceled = End(queue.Canceled)
	// EndReturned means that the queue was closed before the task was done.
	EndReturned = End(queue.Returned)
	// EndKept is the end of a task of a durable queue that was closed: the task is on disk and
	// continues when the queue is opened again.
	EndKept = EndReturned + 1
	// EndUndecided is the end of a task of a durable queue whose disk failed, when it is not known
	// what is on the disk. The task may be there when the queue is opened again. It is then done,
	// even if it was done before.
	EndUndecided = EndReturned + 2
)

// String returns the end in words, such as "dead-lettered".
func (e End) String() string {
	switch e { //nolint:exhaustive // the others are the queue's
	case EndKept:
		return "kept"
	case EndUndecided:
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
	Worker string
	// Attempts counts the attempts that failed, and the one that succeeded.
	Attempts int
	// Cause says why the last attempt failed, if any did.
	Cause string
	// History lists the deliveries that did not succeed, oldest first. It has at most 32.
	History []Attempt
}

// Attempt is one delivery of a task that did not succeed.
type Attempt struct {
	// Worker is the instance that the task was delivered to.
	Worker       string
	Began, Ended time.Time
	// Outcome is "failed", "released", "lease ended" or "disconnected".
	Outcome string
	// Cause is the text of the handler's error, or says what happened to the worker.
	Cause string
	// Counted reports whether the delivery used up an attempt. One that was given back undone did not.
	Counted bool
}

// Future is an accepted task, which may not have ended yet. R is the type of its result, as in
// [Stage]. It is safe for concurrent use.
type Future[R any] struct {
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

// over returns a channel that is closed when the task has ended.
func (e *entry) over() <-chan struct{} {
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

// Done returns a channel that is closed when the task has ended.
func (f *Future[R]) Done() <-chan struct{} { return f.entry.over() }

// ID returns the unique ID of the task, the same as [Task.ID].
func (f *Future[R]) ID() string { return taskID(f.queue.id, f.entry.Seq) }

// Wait waits until the task or ctx has ended, and returns the result if the task is done. The
// end of ctx does not affect the task.
//
// Errors: Aborted for a dead letter, DeadlineExceeded for a task that expired, Canceled
// for one that was canceled, Unavailable for one that its queue returned or keeps on disk,
// DataLoss for one that is [EndUndecided]. If ctx ends, the error has the code of ctx's error
// and its cause; if the deadline of ctx has passed and no worker is connected, it also says
// why nobody takes the task. If a result cannot be decoded, the error is Internal and the task is
// done. [Future.Outcome] says more.
func (f *Future[R]) Wait(ctx context.Context) (R, error) {
	if err := f.queue.wait(ctx, f.entry); err != nil {
		var none R
		return none, err
	}
	return resultOf[R](f.queue.node, f.entry)
}

// wait waits until a task or ctx has ended, and returns nil if the task is done.
func (q *Queue) wait(ctx context.Context, e *entry) error {
	select {
	case <-e.over():
		return e.err()
	case <-ctx.Done():
		return link.Errorf(link.CodeOf(ctx.Err()), "waiting for task %s: %w", taskID(q.id, e.Seq), q.orUnserved(ctx))
	}
}

// Outcome returns how the task ended. Its End is [EndOpen] if the task has not ended.
func (f *Future[R]) Outcome() Outcome { return f.entry.outcome() }

func (e *entry) outcome() Outcome {
	e.mu.Lock()
	ended, failure, kept := e.ended, e.failure, e.kept
	e.mu.Unlock()
	switch {
	case !ended:
		return Outcome{}
	case failure == nil:
		return outcome(&e.Task)
	case kept:
		return Outcome{End: EndKept, Cause: failure.Error()}
	default:
		return Outcome{End: EndUndecided, Cause: failure.Error()}
	}
}

// Cancel ends the task unless it is done first. A task that has not begun does not begin;
// if its handler runs, the context of the handler is canceled.
func (f *Future[R]) Cancel() { f.queue.cancel(f.entry.Seq) }

func outcome(t *queue.Task) Outcome {
	return Outcome{End: End(t.End), Worker: t.Worker, Attempts: t.Attempts, Cause: t.Cause, History: history(t.History)}
}

func history(from []queue.Attempt) []Attempt {
	var out []Attempt
	for _, a := range from {
		out = append(out, Attempt{a.Worker, time.Unix(0, a.Began), time.Unix(0, a.Ended), a.Outcome(), a.Cause, a.Counted})
	}
	return out
}

// attemptsText returns "1 attempt", or n in the plural.
func attemptsText(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return strconv.Itoa(n) + " attempts"
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
		return link.Errorf(link.Aborted, "task %s is a dead letter after %s: %s", id(), attemptsText(e.Attempts), e.Cause)
	case queue.Expired:
		return link.Errorf(link.DeadlineExceeded, "task %s expired after %s", id(), attemptsText(e.Attempts))
	case queue.Canceled:
		return link.Errorf(link.Canceled, "task %s was canceled", id())
	case queue.Returned, queue.Open:
	}
	return link.Errorf(link.Unavailable, "task %s was returned undone: its queue was closed", id())
}
