package queue

// unqueue removes a task from where it waits.
func (q *Queue) unqueue(t *Task) {
	switch t.state {
	case stateReady:
		q.ready.remove(t)
	case stateDelayed:
		q.times[delayTimer].remove(t)
	case stateUnsure:
		q.unsure.remove(t)
	case stateNone, stateNew, stateKeyed, stateHeld, stateEnded:
	}
	// A keyed task stays keyed for leaveKey.
	if t.state != stateKeyed {
		t.state = stateNone
	}
}

// end ends a task that no worker has.
func (q *Queue) end(t *Task, how End, now int64) {
	q.finish(t, how, now)
	if q.opts.Log != nil {
		q.opts.Log.Ended(t)
	}
}

func (q *Queue) finish(t *Task, how End, now int64) {
	q.unqueue(t)
	if t.Key != "" {
		q.leaveKey(t, now)
	}
	q.times[expiryTimer].remove(t)
	q.unlist(t)
	t.state, t.End = stateEnded, how
	t.known = how == Acked && q.dedup.done(t)
	if q.opts.Log == nil {
		t.Forget()
	}
	q.stats.Ends[how]++
	q.ended = append(q.ended, t)
}

// Forget drops the body of a task that is not needed again. The task itself may be remembered
// for its ID. A queue with a Log leaves that call to the writer of the log.
func (t *Task) Forget() {
	if t.End == Acked || t.End == Expired || t.End == Canceled {
		t.Body = nil
	}
}

// bury ends a task as a dead letter, or as canceled if that was asked for.
func (q *Queue) bury(t *Task, now int64) {
	if t.canceled {
		q.end(t, Canceled, now)
		return
	}
	q.finish(t, DeadLettered, now)
	if q.opts.Log != nil {
		q.opts.Log.Dead(t)
	}
	q.keepDead(t, now)
}

// Cancel ends a task and reports whether it was there. A task that a worker holds is given
// back or, if its handler runs, the context of the handler is canceled; it ends as canceled
// unless it is done first.
func (q *Queue) Cancel(seq uint64, now int64) bool {
	t := q.tasks.Get(seq)
	if t == nil {
		return false
	}
	if t.state == stateNew || t.state == stateUnsure {
		t.canceled = true
		return true
	}
	if t.state != stateHeld {
		q.end(t, Canceled, now)
		q.assign(now)
		return true
	}
	if !t.taken {
		q.unbind(t)
		q.end(t, Canceled, now)
		q.assign(now)
		return true
	}
	t.canceled = true
	// If the worker cannot be told, the task ends when the worker reports about it.
	t.worker.order(&t.worker.cancels, seq)
	return true
}

// Fail dead-letters a task that was taken to be sent in parts to a worker, but that no worker would
// accept. It may have ended meanwhile, or be with another worker.
func (q *Queue) Fail(w *Worker, seq uint64, cause string, now int64) {
	if w.sending == seq {
		w.sending = 0
		q.refresh(w)
		// Other tasks that need parts wait for this.
		w.ready.Set()
	}
	t := q.tasks.Get(seq)
	if t == nil {
		return
	}
	if t.state == stateHeld {
		q.unbind(t)
	} else {
		q.unqueue(t)
	}
	t.Cause = cause
	q.bury(t, now)
	q.assign(now)
}
