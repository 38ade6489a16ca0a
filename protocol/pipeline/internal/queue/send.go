package queue

import (
	"slices"
	"time"

	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// MaxSending is how long the parts of a task prolong its lease: the longest one comes through at
// 5 KB/s. A worker that lets them come slower is given up as one that says nothing.
const MaxSending = 15 * time.Minute

// Take appends the records of tasks that are bound to a worker and not yet sent, up
// to most bytes or one task. It returns how many they are. If they have more than most bytes
// it is one that has to go in parts: Sending and Sent are to be called for it, and until Sent
// no other one is taken that does, but those behind it are.
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
		if i := slices.Index(w.cancels, t.Seq); i >= 0 { // that was of an earlier delivery
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

// inParts returns the task that a worker is being sent in parts, nil if there is none or it was
// taken back meanwhile.
func (q *Queue) inParts(w *Worker) *Task {
	if w.sending == 0 {
		return nil
	}
	if t := q.tasks.Get(w.sending); t != nil && t.worker == w && t.taken {
		return t
	}
	return nil
}

// Sending notes that a part of the task that goes in parts is sent, but not the last: as long as a
// worker takes them its lease goes on, up to MaxSending. It reports whether to go on: not when the
// task was given up after that.
func (q *Queue) Sending(w *Worker, now int64) bool {
	slow := now-w.sendingSince >= int64(MaxSending)
	t := q.inParts(w)
	if t != nil && !slow {
		t.vouched = now
	}
	return t != nil || !slow
}

// Sent notes that the last part of a task is sent. It has come behind those that were sent
// beside it.
func (q *Queue) Sent(w *Worker, now int64) {
	if t := q.inParts(w); t != nil {
		t.vouched = now
		w.held.remove(t)
		w.held.push(t)
	}
	w.sending = 0
	q.refresh(w)
}

// TakeOrders appends the numbers of tasks that the worker is to give back, and of
// those that it is to cancel. An order for a task that goes in parts waits for the last of them,
// as the worker does not know it sooner.
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
