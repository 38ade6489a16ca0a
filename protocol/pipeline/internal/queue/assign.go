package queue

import "slices"

// assign binds tasks to workers for as long as there are both tasks that wait and
// workers with credit. If it leaves tasks that wait and there were none before, workers
// that grant nothing are told.
func (q *Queue) assign(now int64) {
	for q.ready.n > 0 && len(q.avail) > 0 {
		t := q.ready.pop(now)
		t.state = stateNone
		if t.expired(now) {
			q.end(t, Expired, now)
			continue
		}
		q.bind(t, q.choose(t, now), now)
	}
	if wait := q.ready.n > 0; wait != q.wanting {
		if q.wanting = wait; wait {
			q.want()
		}
	}
}

func (t *Task) expired(now int64) bool {
	return t.Expires != 0 && t.Expires <= now || t.Deadline != 0 && t.Deadline <= now
}

// choose picks the worker for a task: one that is idle if there is any, and of two
// drawn at random the one that will be done with it sooner.
func (q *Queue) choose(t *Task, now int64) *Worker {
	from := q.idle
	if len(from) == 0 || len(from) == 1 && from[0] == t.avoid {
		from = q.avail
	}
	if len(from) == 1 {
		return from[0]
	}
	i := q.opts.Rand.IntN(len(from))
	j := q.opts.Rand.IntN(len(from) - 1)
	if j >= i {
		j++
	}
	a, b := from[i], from[j]
	switch {
	case a == t.avoid || a.delays(t):
		return b
	case b == t.avoid || b.delays(t):
		return a
	}
	x, y := a.wait(now), b.wait(now)
	if y < x || x == y && b.served < a.served {
		return b
	}
	return a
}

// fits reports whether a task goes to a worker in one frame.
func (w *Worker) fits(t *Task) bool { return t.record() <= w.most }

// delays reports whether a task would wait until another one has gone to the worker in parts.
func (w *Worker) delays(t *Task) bool { return w.sending != 0 && !w.fits(t) }

// wait is what one more task would take at a worker, in nanoseconds. A worker that
// is at its first task is as slow as that was until now.
func (w *Worker) wait(now int64) float64 {
	service := w.service
	if t := w.held.head; t != nil {
		service = max(service, float64(now-t.boundAt))
	}
	return service * float64(w.held.n/w.slots+1)
}

func (q *Queue) bind(t *Task, w *Worker, now int64) {
	if q.behind == 0 {
		q.balanced = now // mostly its writer takes it before that is looked at
	}
	q.fence++
	q.served++
	t.state, t.worker, t.avoid = stateHeld, w, nil
	t.fence = q.fence
	t.delivery++
	t.taken, t.recalled, t.adopted = false, false, false
	t.boundAt, t.vouched = now, now
	w.held.push(t)
	w.heldBytes += int64(t.size())
	w.served = q.served
	if len(w.out) == 0 {
		w.wake()
	}
	w.out = append(w.out, t)
	w.count(t, 1)
	q.refresh(w)
}

// atWorker notes that a task has begun, or may have: only its deadline counts now.
func (q *Queue) atWorker(t *Task) {
	if t.Expires == 0 {
		return
	}
	if t.Deadline != 0 {
		q.times[expiryTimer].set(t, t.Deadline)
	} else {
		q.times[expiryTimer].remove(t)
	}
}

// count notes that a task is to be sent to a worker, or no longer.
func (w *Worker) count(t *Task, n int) {
	if w.fits(t) {
		w.outBytes += n * t.record()
	} else {
		w.outLong += n
	}
}

// untake puts back in line what is bound to a worker and was not taken.
func (q *Queue) untake(w *Worker, now int64) {
	out := w.out
	w.out, w.outBytes, w.outLong = nil, 0, 0
	for _, t := range slices.Backward(out) {
		q.unbind(t)
		q.again(t, now)
	}
}

// unbind takes a task from its worker. It is nowhere then.
func (q *Queue) unbind(t *Task) {
	w := t.worker
	w.held.remove(t)
	w.heldBytes -= int64(t.size())
	t.worker, t.state = nil, stateNone
	if w.leaving && w.held.n == 0 {
		w.wake()
	}
	if !t.taken {
		for i, o := range slices.Backward(w.out) {
			if o == t {
				w.out = slices.Delete(w.out, i, i+1)
				w.count(t, -1)
				break
			}
		}
	}
	q.refresh(w)
}
