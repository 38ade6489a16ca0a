package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline/internal/queue"
)

// unservedAfter is how long tasks wait while no worker is connected before the log says so.
const unservedAfter = 5 * time.Second

// refusals are the workers of a queue that do not take its tasks, and since when.
type refusals struct {
	since map[string]time.Time
	told  bool
}

// tellRefused notes that a worker does not take the queue's tasks. If that lasts, the log says
// so, once until none does: while a new version is rolled out some have a stage and some do
// not yet.
func (q *Queue) tellRefused(worker string, err error) {
	q.mu.Lock()
	now := q.clock.now()
	r := &q.refused
	if r.since == nil {
		r.since = make(map[string]time.Time)
	}
	if _, ok := r.since[worker]; !ok {
		r.since[worker] = now
	}
	long := now.Sub(r.since[worker]) >= unservedAfter || errors.Is(err, errSlow) || errors.Is(err, errSilent) // which have taken their time
	say := !r.told && long
	r.told = r.told || say
	workers := len(r.since)
	q.mu.Unlock()
	if say {
		q.node.Logger().Warn("pipeline: workers do not take a queue's tasks; trying again", "stage", q.name, "workers", workers, "for", unservedAfter, "one", worker, "error", err)
	}
}

// errSilent is said of a worker that has a stream and reads nothing of what waits for it.
var errSilent = link.Errorf(link.Unavailable, "the worker has read nothing for %v", queue.DefaultLease)

// taken notes that a worker takes tasks, or is not there any more. That it opens a stream does not say that it
// takes them.
func (q *Queue) taken(worker string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.takenLocked(worker)
}

func (q *Queue) takenLocked(worker string) {
	delete(q.refused.since, worker)
	if len(q.refused.since) == 0 {
		q.refused.told = false
	}
}

// errPushTime is why a push ends whose context has no deadline.
var errPushTime = errors.New("the deadline of a push that has none, link.Config.CallTimeout, is over; give the context one, or use Enqueue")

// unserved says why nobody takes the queue's tasks, nil if somebody does.
func (q *Queue) unserved() error {
	if q.connected() {
		return nil
	}
	if q.store != nil && !q.store.isNumbered() {
		return errUnnumbered
	}
	return q.node.Unserved(q.route, q.set.calls...)
}

// orUnserved is why ctx has ended while something waited for workers. If its time was over
// and no worker is connected, it says so as well.
func (q *Queue) orUnserved(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		if why := q.unserved(); why != nil { //nolint:contextcheck // it does not wait for long
			return fmt.Errorf("%w: %w", why, cause)
		}
	}
	return cause
}

// errUnended is the error of a push that did not wait until its task ended.
func (q *Queue) errUnended(e *entry, code link.Code, cause error) error {
	if why := q.unserved(); why != nil {
		return link.Errorf(code, "push to %s: task %s has not begun: %w: %w", q.route, taskID(q.id, e.Seq), why, cause)
	}
	return link.Errorf(code, "push to %s: task %s has not ended: %w", q.route, taskID(q.id, e.Seq), cause)
}

// addWithin is add that waits until a time at most, for room and for the disk. Mostly it
// need not wait, and makes no timer.
func (q *Queue) addWithin(ctx context.Context, e *entry, until time.Time) (*entry, error) {
	twin, err := q.reserve(ctx, e, false)
	switch {
	case err == nil && twin.accepted == nil:
		return twin, nil
	case err != nil && link.CodeOf(err) != link.ResourceExhausted:
		return nil, err
	}
	ctx, cancel := context.WithDeadlineCause(ctx, until, errPushTime)
	defer cancel()
	if err != nil {
		if twin, err = q.reserve(ctx, e, true); err != nil {
			return nil, err
		}
	}
	return twin, q.await(ctx, twin)
}

// patience returns a timer that fires at a time.
func (q *Queue) patience(until time.Time) *time.Timer {
	if t, ok := q.timers.Get().(*time.Timer); ok {
		t.Reset(time.Until(until))
		return t
	}
	return time.NewTimer(time.Until(until))
}

func (q *Queue) putPatience(t *time.Timer) {
	t.Stop()
	q.timers.Put(t)
}

// noteUnservedLocked wakes tellUnserved if tasks may wait for somebody to come.
func (q *Queue) noteUnservedLocked() {
	if q.told || q.tasks.Connected() > 0 {
		return
	}
	select {
	case q.unattended <- struct{}{}:
	default:
	}
}

// tellUnserved says in the log when tasks wait and nobody takes them, once until somebody
// does: a name may be wrong. It sleeps while there are none.
func (q *Queue) tellUnserved(ctx context.Context) {
	timer := time.NewTimer(unservedAfter)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-q.unattended:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		q.mu.Lock()
		pending, oldest := q.tasks.Backlog(q.clock.now().UnixNano())
		waits := pending > 0 && !q.told && q.tasks.Connected() == 0
		q.told = q.told || waits && oldest >= unservedAfter
		say := waits && q.told
		q.mu.Unlock()
		switch {
		case say:
			if err := q.unserved(); err != nil { //nolint:contextcheck // it does not wait for long
				q.node.Logger().Warn("pipeline: tasks wait, and no worker is connected", "stage", q.name, "tasks", pending, "for", oldest.Round(time.Second), "error", err)
			}
		case waits:
			timer.Reset(unservedAfter - oldest)
		}
	}
}
