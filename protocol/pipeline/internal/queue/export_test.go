package queue

import (
	"cmp"
	"fmt"
)

// census is what a queue has, counted by looking at each task and worker.
type census struct {
	tasks, held, ready, delayed, expiring, unsure int
	bytes                                         int64
	// atWorkers counts the tasks in the lists of workers.
	atWorkers, behind, lost int
}

// Check returns an error if the lists and counters of the queue do not match its tasks.
func (q *Queue) Check() error {
	var c census
	for t := q.oldest.head; t != nil; t = t.line.next {
		if err := cmp.Or(q.checkState(t), q.checkKey(t)); err != nil {
			return err
		}
		c.add(t)
	}
	for _, w := range q.workers {
		if err := cmp.Or(w.checkOut(), q.checkCredit(w), w.checkBehind()); err != nil {
			return err
		}
		c.addWorker(w)
	}
	return cmp.Or(q.checkCounts(&c), q.checkIdle(), q.checkTimers())
}

// add counts a task.
func (c *census) add(t *Task) {
	c.tasks++
	c.bytes += int64(t.size())
	switch t.state {
	case stateReady:
		c.ready++
	case stateDelayed:
		c.delayed++
	case stateHeld:
		c.held++
	case stateUnsure:
		c.unsure++
	}
	if t.idx[expiryTimer] >= 0 {
		c.expiring++
	}
}

// addWorker counts a worker and what it has.
func (c *census) addWorker(w *Worker) {
	c.atWorkers += w.held.n
	if w.behind {
		c.behind++
	}
	if w.lost {
		c.lost++
	}
}

// checkState checks that a task is where its state says.
func (q *Queue) checkState(t *Task) error {
	switch {
	case q.tasks.Get(t.Seq) != t:
		return fmt.Errorf("task %d is not in the table", t.Seq)
	case t.state == stateNone, t.state == stateEnded:
		return fmt.Errorf("task %d is in state %d", t.Seq, t.state)
	case t.state == stateHeld && (t.worker == nil || q.workers[t.worker.id] != t.worker):
		return fmt.Errorf("task %d is held by nobody", t.Seq)
	case (t.idx[delayTimer] >= 0) != (t.state == stateDelayed):
		return fmt.Errorf("task %d is in state %d and has delay timer %d", t.Seq, t.state, t.idx[delayTimer])
	}
	return nil
}

// checkKey checks that a task with a key waits if and only if another one of its key is ahead.
func (q *Queue) checkKey(t *Task) error {
	if t.Key == "" {
		return nil
	}
	if k := q.keys[t.Key]; k == nil || (k.ahead == t) == (t.state == stateKeyed) {
		return fmt.Errorf("task %d of key %q is in state %d", t.Seq, t.Key, t.state)
	}
	return nil
}

// checkOut checks what a worker counts of its tasks.
func (w *Worker) checkOut() error {
	out, outBytes, outLong := 0, 0, 0
	size := int64(0)
	for t := w.held.head; t != nil; t = t.place.next {
		size += int64(t.size())
		switch {
		case t.taken:
			continue
		case w.fits(t):
			outBytes += t.record()
		default:
			outLong++
		}
		out++
	}
	if out != len(w.out) || size != w.heldBytes {
		return fmt.Errorf("worker %s: %d tasks to be sent, %d listed; %d bytes, counted %d", w.id, out, len(w.out), size, w.heldBytes)
	}
	if outBytes != w.outBytes || outLong != w.outLong || w.stuck != 0 && out > 0 {
		return fmt.Errorf("worker %s: %d bytes and %d long ones to be sent, counted %d and %d; stuck since %d", w.id, outBytes, outLong, w.outBytes, w.outLong, w.stuck)
	}
	return nil
}

// checkCredit checks that a worker is listed as available and as idle if and only if it is.
func (q *Queue) checkCredit(w *Worker) error {
	room := w.hasRoom() && w.held.n < w.window && (w.heldBytes < w.bytes || w.held.n == 0)
	has := w.connected && !w.leaving && w.stuck == 0 && room
	listed := w.availIdx >= 0 && q.avail[w.availIdx] == w
	if has != listed || (has && w.held.n == 0) != (w.idleIdx >= 0) {
		return fmt.Errorf("worker %s: credit %v, index %d, idle %d", w.id, has, w.availIdx, w.idleIdx)
	}
	return nil
}

// checkBehind checks that a worker is behind if and only if it holds more than it can run, or something is to be sent.
func (w *Worker) checkBehind() error {
	if w.behind != (w.connected && (w.held.n > w.slots || len(w.out) > 0)) {
		return fmt.Errorf("worker %s: behind %v with %d tasks in %d slots, %d to be sent", w.id, w.behind, w.held.n, w.slots, len(w.out))
	}
	return nil
}

// checkCounts compares the counters and lists of the queue with what was counted.
func (q *Queue) checkCounts(c *census) error {
	inClasses := 0
	for i := range q.ready.classes {
		inClasses += q.ready.classes[i].n
	}
	for _, count := range []struct {
		what      string
		got, want int
	}{
		{"tasks", q.count, c.tasks},
		{"tasks in the table", q.tasks.Len(), c.tasks},
		{"bytes", int(q.bytes), int(c.bytes)},
		{"tasks that wait for word of workers", q.unsure.n, c.unsure},
		{"tasks at workers", c.atWorkers, c.held},
		{"ready tasks", q.ready.n, c.ready},
		{"tasks in classes", inClasses, c.ready},
		{"delayed tasks", len(q.times[delayTimer].tasks), c.delayed},
		{"tasks that expire", len(q.times[expiryTimer].tasks), c.expiring},
		{"workers that are behind", q.behind, c.behind},
		{"workers that are lost", q.lost, c.lost},
	} {
		if count.got != count.want {
			return fmt.Errorf("%s: %d, want %d", count.what, count.got, count.want)
		}
	}
	if c.unsure > 0 && len(q.awaited) == 0 {
		return fmt.Errorf("%d tasks wait for word of no worker", c.unsure)
	}
	return nil
}

// checkIdle checks that no task waits while a worker has credit.
func (q *Queue) checkIdle() error {
	if q.ready.n > 0 && len(q.avail) > 0 {
		return fmt.Errorf("%d tasks are ready and %d workers have credit", q.ready.n, len(q.avail))
	}
	return nil
}

// checkTimers checks that the timers are heaps.
func (q *Queue) checkTimers() error {
	for k := range q.times {
		h := &q.times[k]
		for i := 1; i < len(h.tasks); i++ {
			if h.less(i, (i-1)/2) {
				return fmt.Errorf("timer heap %d is not a heap", k)
			}
		}
	}
	return nil
}

// Worker returns the worker of an instance.
func (q *Queue) Worker(id string) *Worker { return q.workers[id] }
