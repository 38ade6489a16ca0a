package queue

import (
	"slices"
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// MaxSending is how long sending the parts of a task extends its lease: enough for the longest task
// at 5 KB/s. A worker that takes parts more slowly is given up like one that reports nothing.
const MaxSending = 15 * time.Minute

// Take appends to buf the records of tasks that are bound to a worker and not yet sent, up to
// most bytes, or one longer task. It returns how many tasks they are. If the result is longer
// than most bytes, it is a single task that must be sent in parts: the caller must call Sending
// and Sent for it. Until Sent, Take skips other tasks that need parts, and takes the shorter
// ones behind them.
func (q *Queue) Take(w *Worker, buf []byte, most int, now int64) ([]byte, int) {
	w.came, w.told = now, false
	if w.stuck != 0 {
		w.stuck = 0
		q.refresh(w)
		q.assign(now)
	}
	n := 0
	for _, t := range w.out {
		if len(buf)+t.record() > most {
			if n > 0 {
				break
			}
			if w.sending != 0 {
				continue
			}
		}
		rec := frame.Task{Seq: t.Seq, Delivery: uint64(t.delivery), Attempt: uint64(t.Attempts + 1), Fence: t.fence, Left: -1, Start: -1, Body: t.Body}
		if t.Deadline != 0 {
			rec.Left = time.Duration(max(t.Deadline-now, 0))
		}
		if t.Expires != 0 {
			rec.Start = time.Duration(max(t.Expires-now, 0))
		}
		buf = rec.Append(buf)
		// A cancel that is still to be sent was for an earlier delivery.
		if i := slices.Index(w.cancels, t.Seq); i >= 0 {
			w.cancels = slices.Delete(w.cancels, i, i+1)
		}
		t.taken, t.vouched = true, now
		q.atWorker(t)
		n++
		if len(buf) > most {
			w.sending, w.sendingSince = t.Seq, now
			break
		}
	}
	if n == len(w.out) {
		clear(w.out)
		w.out = w.out[:0]
	} else {
		w.out = slices.DeleteFunc(w.out, func(t *Task) bool { return t.taken })
	}
	w.most, w.outBytes, w.outLong = most, 0, 0
	for _, t := range w.out {
		w.count(t, 1)
	}
	q.refresh(w)
	q.assign(now)
	return buf, n
}

// inParts returns the task that is being sent to a worker in parts, or nil if there is none or it
// was taken back meanwhile.
func (q *Queue) inParts(w *Worker) *Task {
	if w.sending == 0 {
		return nil
	}
	if t := q.tasks.Get(w.sending); t != nil && t.worker == w && t.taken {
		return t
	}
	return nil
}

// Sending notes that a part of a task, but not the last one, is sent. As long as the worker takes
// parts, the lease of the task is extended, up to MaxSending. Sending reports whether to go on: it
// returns false if the task was taken back and MaxSending is over.
func (q *Queue) Sending(w *Worker, now int64) bool {
	slow := now-w.sendingSince >= int64(MaxSending)
	t := q.inParts(w)
	if t != nil && !slow {
		t.vouched = now
	}
	return t != nil || !slow
}

// Sent notes that the last part of a task is sent. The task moves behind those that were sent
// between its parts, because it arrives after them.
func (q *Queue) Sent(w *Worker, now int64) {
	if t := q.inParts(w); t != nil {
		t.vouched = now
		w.held.remove(t)
		w.held.push(t)
	}
	w.sending = 0
	q.refresh(w)
}

// TakeOrders appends the numbers of the tasks that the worker is to give back, and of those that
// it is to cancel. An order for a task that is being sent in parts waits for the last part, as the
// worker does not know the task before.
func (q *Queue) TakeOrders(w *Worker, recalls, cancels []uint64) ([]uint64, []uint64) {
	return takeOrders(recalls, &w.recalls, w.sending), takeOrders(cancels, &w.cancels, w.sending)
}

func takeOrders(dst []uint64, from *[]uint64, later uint64) []uint64 {
	left := (*from)[:0]
	for _, seq := range *from {
		if seq == later {
			left = append(left, seq)
		} else {
			dst = append(dst, seq)
		}
	}
	*from = left
	return dst
}
