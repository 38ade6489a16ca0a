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

// refusals tells which workers of a queue do not take its tasks, and since when.
type refusals struct {
	since map[string]time.Time
	told  bool
}

// tellRefused notes that a worker does not take the queue's tasks. If that lasts, it is logged,
// once until no worker refuses any more. A short refusal is normal: during a rollout, some
// instances do not have a new stage yet.
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
	// errSlow and errSilent come only after a long time.
	long := now.Sub(r.since[worker]) >= unservedAfter || errors.Is(err, errSlow) || errors.Is(err, errSilent)
	say := !r.told && long
	r.told = r.told || say
	workers := len(r.since)
	q.mu.Unlock()
	if say {
		link.HostOf(q.node).Logger().Warn("pipeline: workers do not take a queue's tasks; trying again", "stage", q.name, "workers", workers, "for", unservedAfter, "one", worker, "error", err)
	}
}

// errSilent is reported for a worker that has a stream but reads nothing of what waits for it.
var errSilent = link.Errorf(link.Unavailable, "the worker has read nothing for %v", queue.DefaultLease)

// taken notes that a worker takes tasks, or is gone. An open stream alone does not show that it
// takes tasks.
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

// errPushTime is why a push without a deadline in its context times out.
var errPushTime = errors.New("the deadline of a push that has none, link.Config.Limits.CallTimeout, is over; give the context one, or use Enqueue")

// unserved returns why nobody takes the queue's tasks, or nil if somebody does.
func (q *Queue) unserved() error {
	if q.connected() {
		return nil
	}
	if q.store != nil && !q.store.isNumbered() {
		return errUnnumbered
	}
	return link.HostOf(q.node).Unserved(q.route, q.set.calls...)
}

// orUnserved returns why ctx has ended while something waited for workers. If the deadline of ctx
// has passed and no worker is connected, the error says why as well.
func (q *Queue) orUnserved(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		if why := q.unserved(); why != nil {
			return fmt.Errorf("%w: %w", why, cause)
		}
	}
	return cause
}

// errUnended returns the error of a push that stopped waiting before its task ended.
func (q *Queue) errUnended(e *entry, code link.Code, cause error) error {
	if why := q.unserved(); why != nil {
		return link.Errorf(code, "push to %s: task %s has not begun: %w: %w", q.route, taskID(q.id, e.Seq), why, cause)
	}
	return link.Errorf(code, "push to %s: task %s has not ended: %w", q.route, taskID(q.id, e.Seq), cause)
}

// addWithin is like add, but waits at most until a time, for room and for the disk. It usually
// need not wait, and then makes no timer.
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

// patience returns a timer that fires at a time. putPatience recycles it.
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

// noteUnservedLocked wakes tellUnserved if tasks may be waiting while no worker is connected.
func (q *Queue) noteUnservedLocked() {
	if !q.told && q.tasks.Connected() == 0 {
		q.unattended.Set()
	}
}

// tellUnserved logs that tasks wait and nobody takes them, once until somebody does: a name may
// be wrong. It sleeps while no tasks wait.
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
			if err := q.unserved(); err != nil {
				link.HostOf(q.node).Logger().Warn("pipeline: tasks wait, and no worker is connected", "stage", q.name, "tasks", pending, "for", oldest.Round(time.Second), "error", err)
			}
		case waits:
			timer.Reset(unservedAfter - oldest)
		}
	}
}
