package queue

// keyed are the tasks of one key: one is in line or at a worker, the others wait.
type keyed struct {
	ahead   *Task
	waiting places
}

// ofKey reports whether a task may go on; if not, it waits for its key.
func (q *Queue) ofKey(t *Task) bool {
	if t.Key == "" {
		return true
	}
	k := q.keys[t.Key]
	switch {
	case k == nil:
		q.keys[t.Key] = &keyed{ahead: t}
		return true
	case k.ahead == t:
		return true
	}
	k.waiting.push(t)
	return false
}

// leaveKey takes a task that ends off its key, and puts the next in line.
func (q *Queue) leaveKey(t *Task, now int64) {
	k := q.keys[t.Key]
	if k == nil || k.ahead != t && t.state != stateKeyed { // it was not in line yet
		return
	}
	if k.ahead != t {
		k.waiting.remove(t)
		return
	}
	next := k.waiting.head
	if next == nil {
		delete(q.keys, t.Key)
		return
	}
	k.waiting.remove(next)
	k.ahead = next
	q.enqueue(next, now, false)
}
