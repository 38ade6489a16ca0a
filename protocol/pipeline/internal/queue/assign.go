package queue

import "slices"

// assign binds tasks to workers as long as there are both tasks that wait and workers
// with credit. If it leaves tasks waiting where none were before, workers that grant
// nothing are told.
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

// choose picks the worker for a task: among the idle workers if there are any, the one of
// two random choices that will be done with the task sooner.
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

// fits reports whether a task fits in one frame to a worker.
func (w *Worker) fits(t *Task) bool { return t.record() <= w.most }

// delays reports whether a task would have to wait until another one is sent in parts.
func (w *Worker) delays(t *Task) bool { return w.sending != 0 && !w.fits(t) }

// wait estimates how long one more task would take at a worker, in nanoseconds. The service
// time counts as at least as long as the worker has had its oldest task.
func (w *Worker) wait(now int64) float64 {
	service := w.service
	if t := w.held.head; t != nil {
		service = max(service, float64(now-t.boundAt))
	}
	return service * float64(w.held.n/w.slots+1)
}

func (q *Queue) bind(t *Task, w *Worker, now int64) {
	if q.behind == 0 {
		// Usually the writer takes the task before recalls are next looked at.
		q.balanced = now
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
		w.ready.Set()
	}
	w.out = append(w.out, t)
	w.count(t, 1)
	q.refresh(w)
}

// atWorker notes that a task may have begun: from now on only its deadline counts.
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

// count adds a task to what is to be sent to a worker if n is 1, and removes it if n is -1.
func (w *Worker) count(t *Task, n int) {
	if w.fits(t) {
		w.outBytes += n * t.record()
	} else {
		w.outLong += n
	}
}

// untake puts back in line the tasks that are bound to a worker but were not taken by its writer.
func (q *Queue) untake(w *Worker, now int64) {
	out := w.out
	w.out, w.outBytes, w.outLong = nil, 0, 0
	for _, t := range slices.Backward(out) {
		q.unbind(t)
		q.again(t, now)
	}
}

// unbind takes a task from its worker. The caller must put it elsewhere or end it.
func (q *Queue) unbind(t *Task) {
	w := t.worker
	w.held.remove(t)
	w.heldBytes -= int64(t.size())
	t.worker, t.state = nil, stateNone
	if w.leaving && w.held.n == 0 {
		w.ready.Set()
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
