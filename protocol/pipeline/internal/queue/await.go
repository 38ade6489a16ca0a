package queue

// Await tells the queue which workers an earlier run had. What that had not ended may be
// with them, so that tasks which are restored wait until each has said what it runs, or
// until Options.Grace is over. It comes before Restore.
func (q *Queue) Await(workers []string, now int64) {
	q.awaited = make(map[string]bool, len(workers))
	for _, id := range workers {
		q.awaited[id] = true
	}
	q.giveUp = now + int64(q.opts.Grace)
}

// Asks returns about which numbers a worker is to be asked: those between the first and
// the last task of an earlier run that has not ended; both are 0 if there is none.
func (q *Queue) Asks() (first, last uint64) {
	if t := q.oldest.head; t != nil && t.restored {
		return t.Seq, q.restored
	}
	return 0, 0
}

// heard notes that a worker has said what it has.
func (q *Queue) heard(id string, now int64) {
	if !q.awaited[id] {
		return
	}
	delete(q.awaited, id)
	if len(q.awaited) == 0 {
		q.sure(now)
	}
}

// giveUpAwaited waits for no worker of an earlier run any more.
func (q *Queue) giveUpAwaited(now int64) {
	for id := range q.awaited {
		if q.opts.Log != nil && q.workers[id] == nil {
			q.opts.Log.Gone(id)
		}
	}
	q.awaited = nil
	q.sure(now)
}

// sure puts the tasks in line that nobody has.
func (q *Queue) sure(now int64) {
	for t := q.unsure.head; t != nil; t = q.unsure.head {
		q.unsure.remove(t)
		t.state = stateNone
		if t.canceled {
			q.end(t, Canceled, now)
			continue
		}
		if at := t.expiry(); at != 0 { // it may have been due meanwhile
			q.times[expiryTimer].set(t, at)
		}
		q.enqueue(t, now, false)
	}
}

// mostAdopted bounds the number of a delivery of an earlier run, as a worker says it: those
// that follow must not overflow, for a worker that is told of delivery 0 ends the stream.
const mostAdopted = 1 << 31

// adopt binds a task of an earlier run to a worker that runs it. Of two the one with the
// later delivery has it; what a worker runs in vain it is told to cancel.
func (q *Queue) adopt(w *Worker, seq, delivery uint64, now int64) {
	t := q.tasks.Get(seq)
	if t != nil && t.worker == w {
		return
	}
	newer := t != nil && t.restored && delivery >= uint64(t.delivery) && delivery <= mostAdopted
	if newer && t.state == stateHeld {
		if newer = t.adopted && delivery > uint64(t.delivery); newer {
			t.worker.order(&t.worker.cancels, seq)
			q.unbind(t)
		}
	}
	if !newer || !q.overtake(t) {
		w.order(&w.cancels, seq)
		return
	}
	q.unqueue(t)
	t.state, t.worker, t.avoid = stateHeld, w, nil
	t.delivery = uint32(delivery)
	t.adopted, t.taken, t.recalled = true, true, false
	t.boundAt, t.vouched = now, now
	w.held.push(t)
	w.heldBytes += int64(t.size())
	q.atWorker(t)
	q.refresh(w)
}
