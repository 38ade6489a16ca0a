package queue

// keyed are the tasks of one key: one is in line or at a worker, the others wait. If there
// is a Log, one that has ended keeps its place until Settle says that its end is written:
// after a crash before that it would be done behind those that were behind it.
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

// leaveKey takes a task that ends off its key, unless that is for Settle to do.
func (q *Queue) leaveKey(t *Task, now int64) {
	k := q.keys[t.Key]
	switch {
	case q.opts.Log != nil:
		t.behind = k.ahead != t
	case k.ahead != t:
		k.waiting.remove(t)
	default:
		q.nextOfKey(k, t.Key, now)
	}
}

// Settle says that the end of a task is as durable as it is to be, so that the next of
// its key may begin. A queue with a Log waits for that.
func (q *Queue) Settle(t *Task, now int64) {
	if t.Key == "" || q.opts.Log == nil {
		return
	}
	switch k := q.keys[t.Key]; {
	case t.behind:
		t.behind = false
		k.waiting.remove(t)
	case k.ahead == t:
		q.nextOfKey(k, t.Key, now)
		q.assign(now)
	}
}

func (q *Queue) nextOfKey(k *keyed, key string, now int64) {
	next := k.waiting.head
	if next == nil {
		delete(q.keys, key)
		return
	}
	k.waiting.remove(next)
	k.ahead = next
	if next.state == stateEnded { // and that is not written yet
		next.behind = false
		return
	}
	q.enqueue(next, now, false)
}

// overtake puts a task ahead of its key which a worker runs already. It reports whether
// it is: not if another one is at a worker.
func (q *Queue) overtake(t *Task) bool {
	if t.Key == "" {
		return true
	}
	k := q.keys[t.Key]
	if k.ahead == t {
		return true
	}
	a := k.ahead
	if a.state == stateHeld || a.state == stateEnded {
		return false
	}
	k.waiting.remove(t)
	q.unqueue(a)
	a.state = stateKeyed
	k.waiting.pushFront(a)
	k.ahead = t
	t.state = stateNone
	return true
}
