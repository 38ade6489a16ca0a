package queue

import (
	"time"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// backoff is how long a task waits after each of its first failed attempts; after later
// ones the last value is used. Up to a quarter of it is jitter.
var backoff = [...]time.Duration{ //nolint:gochecknoglobals // a table
	time.Second, 4 * time.Second, 16 * time.Second, 64 * time.Second, 5 * time.Minute,
}

// MaxDelay bounds the delay that a worker may ask for.
const MaxDelay = 24 * time.Hour

// Apply applies the outcomes of a worker, the body of an OUTCOMES frame. If the body is
// malformed, it returns an error; the outcomes before that point are applied. Outcomes of
// tasks that the worker does not hold are ignored, except that an ack counts from any
// worker that had the task before.
func (q *Queue) Apply(w *Worker, body []byte, now int64) error {
	var o frame.Outcome
	for len(body) > 0 {
		rest, err := o.Cut(body)
		if err != nil {
			return err
		}
		body = rest
		if t := q.tasks.Get(o.Seq); t != nil {
			q.outcome(w, t, &o, now)
		}
	}
	q.assign(now)
	return nil
}

func (q *Queue) outcome(w *Worker, t *Task, o *frame.Outcome, now int64) {
	if t.worker != w || !t.taken || uint64(t.delivery) != o.Delivery {
		if (o.Verb == frame.Ack || o.Verb == frame.Result) && t.had(w.id) {
			q.late(w, t, o, now)
		}
		return
	}
	if t.late != nil && o.Verb != frame.Started {
		q.unbind(t)
		q.wasDone(t, now)
		return
	}
	cause := ""
	if o.Verb != frame.Result {
		// The cause goes into logs and errors.
		cause = foreign.Short(string(o.Data), frame.MaxCause)
	}
	switch o.Verb {
	case frame.Ack, frame.Result:
		w.measure(float64(o.Ran))
		w.acked++
		q.unbind(t)
		q.ack(w, t, o, now)
	case frame.Retry:
		q.unbind(t)
		w.measure(max(float64(now-t.boundAt), failurePenalty))
		q.fail(t, w, cause, o.Delay, now)
	case frame.Release:
		recalled, beyond := t.recalled, w.held.n > w.window
		q.unbind(t)
		if !recalled {
			t.avoid = w
		}
		q.giveBack(t, cause, recalled || beyond || w.leaving, now)
	case frame.Reject:
		q.unbind(t)
		t.Attempts++
		t.note(Attempt{Worker: w.id, Began: t.boundAt, Ended: now, Cause: cause, Counted: true})
		t.Cause = cause
		q.bury(t, now)
	case frame.Started:
		t.recalled = false
	}
}

// had reports whether a worker may have been given the task before. For a task of an earlier
// run that is always so, because it is not known which workers had it.
func (t *Task) had(id string) bool {
	if t.restored {
		return true
	}
	for i := range t.History {
		if t.History[i].Worker == id {
			return true
		}
	}
	return false
}

// late handles an ack for a task that is with another worker by now, or in line. The next
// task of its key must not begin while the handler of the other worker runs.
func (q *Queue) late(w *Worker, t *Task, o *frame.Outcome, now int64) {
	if t.late != nil || t.state == stateNew {
		return
	}
	q.stats.Late++
	t.late = &ack{worker: w.id}
	if o.Verb == frame.Result {
		t.late.result = append([]byte{}, o.Data...)
	}
	if t.state != stateHeld {
		if t.state != stateKeyed {
			q.unqueue(t)
		}
		q.wasDone(t, now)
		return
	}
	other, begun := t.worker, t.taken
	if begun {
		other.order(&other.cancels, t.Seq)
	}
	if !begun || t.Key == "" {
		q.unbind(t)
		q.wasDone(t, now)
	}
}

// wasDone ends a task that no worker has, as its late ack says.
func (q *Queue) wasDone(t *Task, now int64) {
	t.Worker, t.Result = t.late.worker, t.late.result
	t.Attempts++
	q.end(t, Acked, now)
}

func (q *Queue) ack(w *Worker, t *Task, o *frame.Outcome, now int64) {
	t.Worker = w.id
	t.Attempts++
	if o.Verb == frame.Result {
		t.Result = append([]byte{}, o.Data...)
	}
	q.end(t, Acked, now)
}

// failurePenalty is the least that a failed task counts in a worker's service time, in
// nanoseconds, so that a worker that fails fast does not attract tasks.
const failurePenalty = float64(100 * time.Millisecond)

// measure updates the moving average of the service time with that of a task.
func (w *Worker) measure(ns float64) {
	if w.service == 0 {
		w.service = ns
		return
	}
	w.service += (ns - w.service) / 8
}

// fail counts an attempt that failed. A negative delay stands for the queue's backoff.
func (q *Queue) fail(t *Task, w *Worker, cause string, delay time.Duration, now int64) {
	if t.late != nil {
		q.wasDone(t, now)
		return
	}
	t.Attempts++
	t.note(Attempt{Worker: w.id, Began: t.boundAt, Ended: now, Cause: cause, Counted: true})
	t.Cause = cause
	q.stats.Failed++
	switch {
	case t.canceled:
		q.end(t, Canceled, now)
		return
	case t.Deadline != 0 && t.Deadline <= now:
		// This comes first even if it was the last attempt.
		q.end(t, Expired, now)
		return
	case t.Attempts >= q.opts.Attempts:
		q.bury(t, now)
		return
	}
	if delay < 0 {
		d := backoff[min(t.Attempts, len(backoff))-1]
		delay = d - time.Duration(q.opts.Rand.Int64N(int64(d)/4))
	}
	t.NotBefore = now + int64(min(delay, MaxDelay))
	if q.opts.Log != nil {
		q.opts.Log.Failed(t)
	}
	q.again(t, now)
}

// giveBack puts a task that has not begun back in line. Unless free is set, it counts as a
// release by the worker, and the number of releases is limited.
func (q *Queue) giveBack(t *Task, cause string, free bool, now int64) {
	if t.late != nil {
		q.wasDone(t, now)
		return
	}
	q.stats.Released++
	if !free {
		t.releases++
		if t.avoid != nil {
			t.note(Attempt{Worker: t.avoid.id, Began: t.boundAt, Ended: now, Cause: cause})
		}
	}
	switch {
	case t.canceled:
		q.end(t, Canceled, now)
	case t.releases >= MaxReleases:
		t.Cause = "it was given back too often, the last time because " + cause
		q.bury(t, now)
	case t.expired(now):
		q.end(t, Expired, now)
	default:
		if t.releases > 1 && !free {
			t.NotBefore = now + int64(min(releasePause<<min(t.releases-2, 10), maxReleasePause))
		}
		q.again(t, now)
	}
}

// releasePause is how long a task waits after its second release. It doubles with each
// release, up to maxReleasePause.
const (
	releasePause    = 10 * time.Millisecond
	maxReleasePause = time.Second
)

// again puts a task back in line.
func (q *Queue) again(t *Task, now int64) {
	if at := t.expiry(); at != 0 {
		q.times[expiryTimer].set(t, at)
	}
	q.enqueue(t, now, true)
}

// order adds a task to a list that is to be sent to a worker. It reports false if the worker is
// not connected or a frame holds no more.
func (w *Worker) order(list *[]uint64, seq uint64) bool {
	if !w.connected || len(*list) >= frame.MaxList {
		return false
	}
	*list = append(*list, seq)
	w.ready.Set()
	return true
}
