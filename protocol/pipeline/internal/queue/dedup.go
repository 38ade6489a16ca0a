package queue

// dedup remembers the tasks that had an ID, for a while.
type dedup struct {
	window int64
	most   int
	limit  int64
	log    Log
	byID   map[string]*Task
	// bytes counts the bytes of results.
	bytes int64
	// order is a ring of n tasks whose oldest is at first.
	order []remembered
	first int
	n     int
}

type remembered struct {
	task *Task
	at   int64
}

func (d *dedup) init(opts *Options) {
	d.window, d.most, d.limit, d.log = int64(opts.DedupTime), opts.DedupCount, opts.DedupBytes, opts.Log
}

// find returns the task with the ID that was added within the window or has not ended, or
// nil. A task that was canceled or has expired does not count: it was not done, and may be
// wanted again.
func (d *dedup) find(id string, now int64) *Task {
	d.forget(now)
	t := d.byID[id]
	if t != nil && (t.End == Canceled || t.End == Expired) {
		d.remove(t)
		return nil
	}
	return t
}

// add remembers a task that was added to the queue at a time.
func (d *dedup) add(t *Task, at, now int64) {
	if d.byID == nil {
		d.byID = make(map[string]*Task)
	}
	if d.n == len(d.order) {
		grown := make([]remembered, max(16, 2*d.n))
		for i := range d.n {
			grown[i] = d.order[(d.first+i)%d.n]
		}
		d.order, d.first = grown, 0
	}
	d.byID[t.ID] = t
	d.order[(d.first+d.n)%len(d.order)] = remembered{t, at}
	d.n++
	d.forget(now)
}

// done notes that a task was acked. It reports whether the task is remembered.
func (d *dedup) done(t *Task) bool {
	if t.ID == "" || d.byID[t.ID] != t {
		return false
	}
	d.bytes += int64(len(t.Result))
	return true
}

// forget drops tasks that are older than the window, or beyond the count or the bytes. A
// task that has not ended is kept for longer: it moves to the end of the ring.
func (d *dedup) forget(now int64) {
	for range d.n {
		r := &d.order[d.first]
		if d.n <= d.most && d.bytes <= d.limit && now-r.at < d.window {
			return
		}
		old := *r
		*r = remembered{}
		d.first = (d.first + 1) % len(d.order)
		d.n--
		t := old.task
		if t.state != stateEnded && d.n < d.most {
			d.order[(d.first+d.n)%len(d.order)] = remembered{t, now}
			d.n++
			continue
		}
		if d.byID[t.ID] != t {
			continue
		}
		delete(d.byID, t.ID)
		if t.End == Acked {
			d.bytes -= int64(len(t.Result))
			if d.log != nil {
				d.log.Forgot(t)
			}
		}
	}
}

// remove forgets a task. Its place in the ring stays, without effect.
func (d *dedup) remove(t *Task) {
	if t.ID != "" && d.byID[t.ID] == t {
		delete(d.byID, t.ID)
	}
}

// Remember adds a task of an earlier run that was acked and has an ID, with the time at
// which it was added. It must be called in the order of these times, before Restore. It
// reports whether the ID is still remembered.
func (q *Queue) Remember(t *Task, now int64) bool {
	t.Added = min(t.Added, now)
	if now-t.Added >= q.dedup.window || q.dedup.byID[t.ID] != nil {
		return false
	}
	q.seq = max(q.seq, t.Seq)
	t.state, t.End = stateEnded, Acked
	q.dedup.add(t, t.Added, now)
	return q.dedup.done(t)
}
