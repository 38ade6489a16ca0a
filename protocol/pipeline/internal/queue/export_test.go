package queue

import "fmt"

// Check returns an error if the lists and counters of the queue do not match its tasks.
func (q *Queue) Check() error {
	var n, held, keyed, delayed, ready, expiring, unsure int
	bytes := int64(0)
	for t := q.oldest.head; t != nil; t = t.line.next {
		n++
		bytes += int64(t.size())
		if q.tasks.Get(t.Seq) != t {
			return fmt.Errorf("task %d is not in the table", t.Seq)
		}
		switch t.state {
		case stateKeyed:
			keyed++
		case stateReady:
			ready++
		case stateDelayed:
			delayed++
		case stateHeld:
			held++
			if t.worker == nil || q.workers[t.worker.id] != t.worker {
				return fmt.Errorf("task %d is held by nobody", t.Seq)
			}
		case stateUnsure:
			unsure++
		case stateNone, stateEnded:
			return fmt.Errorf("task %d is in state %d", t.Seq, t.state)
		}
		if t.idx[expiryTimer] >= 0 {
			expiring++
		}
		if (t.idx[delayTimer] >= 0) != (t.state == stateDelayed) {
			return fmt.Errorf("task %d is in state %d and has delay timer %d", t.Seq, t.state, t.idx[delayTimer])
		}
		if t.Key != "" {
			k := q.keys[t.Key]
			if k == nil || (k.ahead == t) == (t.state == stateKeyed) {
				return fmt.Errorf("task %d of key %q is in state %d", t.Seq, t.Key, t.state)
			}
		}
	}
	if unsure != q.unsure.n || unsure > 0 && len(q.awaited) == 0 {
		return fmt.Errorf("%d and %d tasks wait for word of %d workers", unsure, q.unsure.n, len(q.awaited))
	}
	if n != q.count || n != q.tasks.Len() || bytes != q.bytes {
		return fmt.Errorf("%d tasks of %d bytes are listed, %d are in the table; counted were %d of %d", n, bytes, q.tasks.Len(), q.count, q.bytes)
	}
	atWorkers, behind, lost := 0, 0, 0
	for _, w := range q.workers {
		atWorkers += w.held.n
		out, outBytes, outLong := 0, 0, 0
		size := int64(0)
		for t := w.held.head; t != nil; t = t.place.next {
			size += int64(t.size())
			if !t.taken {
				out++
				if w.fits(t) {
					outBytes += t.record()
				} else {
					outLong++
				}
			}
		}
		if out != len(w.out) || size != w.heldBytes {
			return fmt.Errorf("worker %s: %d tasks to be sent, %d listed; %d bytes, counted %d", w.id, out, len(w.out), size, w.heldBytes)
		}
		if outBytes != w.outBytes || outLong != w.outLong || w.stuck != 0 && out > 0 {
			return fmt.Errorf("worker %s: %d bytes and %d long ones to be sent, counted %d and %d; stuck since %d", w.id, outBytes, outLong, w.outBytes, w.outLong, w.stuck)
		}
		has := w.connected && !w.leaving && w.stuck == 0 && w.hasRoom() && w.held.n < w.window && (w.heldBytes < w.bytes || w.held.n == 0)
		if has != (w.availIdx >= 0) || has && q.avail[w.availIdx] != w || (has && w.held.n == 0) != (w.idleIdx >= 0) {
			return fmt.Errorf("worker %s: credit %v, index %d, idle %d", w.id, has, w.availIdx, w.idleIdx)
		}
		if w.behind != (w.connected && (w.held.n > w.slots || len(w.out) > 0)) {
			return fmt.Errorf("worker %s: behind %v with %d tasks in %d slots, %d to be sent", w.id, w.behind, w.held.n, w.slots, len(w.out))
		}
		if w.behind {
			behind++
		}
		if w.lost {
			lost++
		}
	}
	inClasses := 0
	for i := range q.ready.classes {
		inClasses += q.ready.classes[i].n
	}
	if atWorkers != held || inClasses != ready || q.ready.n != ready || len(q.times[delayTimer].tasks) != delayed || len(q.times[expiryTimer].tasks) != expiring || behind != q.behind || lost != q.lost {
		return fmt.Errorf("held %d and %d, ready %d, %d and %d, delayed %d and %d, expiring %d and %d, behind %d and %d, lost %d and %d",
			held, atWorkers, ready, inClasses, q.ready.n, delayed, len(q.times[delayTimer].tasks), expiring, len(q.times[expiryTimer].tasks), behind, q.behind, lost, q.lost)
	}
	if q.ready.n > 0 && len(q.avail) > 0 {
		return fmt.Errorf("%d tasks are ready and %d workers have credit", q.ready.n, len(q.avail))
	}
	for i := 1; i < max(len(q.times[0].tasks), len(q.times[1].tasks)); i++ {
		for k := range q.times {
			if h := &q.times[k]; i < len(h.tasks) && h.less(i, (i-1)/2) {
				return fmt.Errorf("timer heap %d is not a heap", k)
			}
		}
	}
	return nil
}

// Worker returns the worker of an instance.
func (q *Queue) Worker(id string) *Worker { return q.workers[id] }
