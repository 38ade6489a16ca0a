package queue

// Await tells the queue which workers an earlier run had. They may have unfinished tasks of
// that run, so restored tasks wait until each worker has said what it runs, or until
// Options.Grace is over. Await must be called before Restore.
func (q *Queue) Await(workers []string, now int64) {
	q.awaited = make(map[string]bool, len(workers))
	for _, id := range workers {
		q.awaited[id] = true
	}
	q.giveUp = now + int64(q.opts.Grace)
}

// Asks returns the range of numbers that a worker is to be asked about: from the oldest
// restored task that has not ended to the last restored task. Both are 0 if there is none.
func (q *Queue) Asks() (first, last uint64) {
	if t := q.oldest.head; t != nil && t.restored {
		return t.Seq, q.restored
	}
	return 0, 0
}

// heard notes that a worker has said which tasks it has.
func (q *Queue) heard(id string, now int64) {
	if !q.awaited[id] {
		return
	}
	delete(q.awaited, id)
	if len(q.awaited) == 0 {
		q.sure(now)
	}
}

// giveUpAwaited stops waiting for the workers of an earlier run.
func (q *Queue) giveUpAwaited(now int64) {
	for id := range q.awaited {
		if q.opts.Log != nil && q.workers[id] == nil {
			q.opts.Log.Gone(id)
		}
	}
	q.awaited = nil
	q.sure(now)
}

// sure puts the restored tasks in line that no worker has.
func (q *Queue) sure(now int64) {
	for t := q.unsure.head; t != nil; t = q.unsure.head {
		q.unsure.remove(t)
		t.state = stateNone
		if t.canceled {
			q.end(t, Canceled, now)
			continue
		}
		// Its expiry may have been due meanwhile.
		if at := t.expiry(); at != 0 {
			q.times[expiryTimer].set(t, at)
		}
		q.enqueue(t, now, false)
	}
}

// mostAdopted bounds the delivery number of an earlier run that a worker may report. Later
// deliveries must not overflow, because a worker ends the stream on delivery 0.
const mostAdopted = 1 << 31

// adopt binds a task of an earlier run to a worker that runs it. If two workers run it, the one
// with the later delivery keeps it. A worker that runs it in vain is told to cancel it.
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
