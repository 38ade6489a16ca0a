package queue

// keyed holds the tasks of one key: one is in line or at a worker, the others wait. If there is
// a Log, a task that has ended keeps its place until Settle says that its end is written.
// Otherwise, after a crash before that, it would be done again after its successors.
type keyed struct {
	ahead   *Task
	waiting places
}

// ofKey reports whether a task may go in line. If not, the task waits for its key.
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

// leaveKey removes a task that ends from its key, or leaves that to Settle if there is a Log.
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

// Settle tells a queue with a Log that the end of a task is as durable as required, so that
// the next task of its key may begin.
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
	if next.state == stateEnded {
		// Its end is not written yet.
		next.behind = false
		return
	}
	q.enqueue(next, now, false)
}

// overtake puts a task that a worker already runs ahead of the others of its key. It fails, and
// reports false, if another one is at a worker or has ended without being settled.
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
