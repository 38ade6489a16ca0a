package queue

// deadLetters are the tasks that failed for good, oldest first.
type deadLetters struct {
	tasks []*Task
	times []int64
	bytes int64
	most  int
	limit int64
}

func (d *deadLetters) init(most int, limit int64) { d.most, d.limit = most, limit }

// deadSize returns how many bytes a dead letter counts. The causes of its attempts count too,
// since they may be longer than the task itself.
func (t *Task) deadSize() int64 {
	n := t.size() + len(t.Cause)
	for i := range t.History {
		n += attemptOverhead + len(t.History[i].Cause)
	}
	return int64(n)
}

// attemptOverhead is about how many bytes an attempt takes besides its cause.
const attemptOverhead = 64

// keepDead keeps a task as a dead letter. If there are too many, the oldest are dropped.
func (q *Queue) keepDead(t *Task, now int64) {
	d := &q.dead
	d.tasks, d.times = append(d.tasks, t), append(d.times, now)
	d.bytes += t.deadSize()
	drop := 0
	for len(d.tasks)-drop > d.most || d.bytes > d.limit && len(d.tasks)-drop > 1 {
		d.bytes -= d.tasks[drop].deadSize()
		q.stats.DeadDropped++
		if q.opts.Log != nil {
			q.opts.Log.Buried(d.tasks[drop].Seq)
		}
		drop++
	}
	if drop > 0 {
		d.cut(0, drop)
	}
}

func (d *deadLetters) cut(from, to int) {
	n := copy(d.tasks[from:], d.tasks[to:])
	copy(d.times[from:], d.times[to:])
	clear(d.tasks[from+n:])
	d.tasks, d.times = d.tasks[:from+n], d.times[:from+n]
}

// RestoreDead adds a dead letter of an earlier run, or one that TakeDead took. at is when it became one.
func (q *Queue) RestoreDead(t *Task, at, now int64) {
	q.seq = max(q.seq, t.Seq)
	t.state, t.End = stateEnded, DeadLettered
	if t.ID != "" && now-t.Added < q.dedup.window && q.dedup.byID[t.ID] == nil {
		q.dedup.add(t, min(t.Added, now), now)
	}
	q.keepDead(t, at)
}

// Dead yields the dead letters, oldest first, with the time at which each became one.
func (q *Queue) Dead(yield func(t *Task, at int64) bool) {
	for i, t := range q.dead.tasks {
		if !yield(t, q.dead.times[i]) {
			return
		}
	}
}

// TakeDead removes and returns the dead letters that match, oldest first. There are at most
// limit of them unless limit is negative. They stay in the log until Bury.
func (q *Queue) TakeDead(match func(t *Task) bool, limit int) []*Task {
	var out []*Task
	kept := 0
	d := &q.dead
	for i, t := range d.tasks {
		if len(out) != limit && match(t) {
			out = append(out, t)
			// The next task with its ID is a new one.
			q.dedup.remove(t)
			d.bytes -= t.deadSize()
			continue
		}
		d.tasks[kept], d.times[kept] = t, d.times[i]
		kept++
	}
	d.cut(kept, len(d.tasks))
	return out
}

// Bury logs that a dead letter of TakeDead is gone.
func (q *Queue) Bury(t *Task) {
	if q.opts.Log != nil {
		q.opts.Log.Buried(t.Seq)
	}
}
