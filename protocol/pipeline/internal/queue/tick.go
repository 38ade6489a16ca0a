package queue

import (
	"slices"
	"time"
)

const (
	// leaseEvery is how often leases are checked.
	leaseEvery = int64(time.Second)
	// recallEvery is how often the queue checks whether a worker is idle while tasks wait at
	// another one, and how long a task may wait for the writer of its worker.
	recallEvery = int64(10 * time.Millisecond)
)

// Tick does what is due: delayed tasks go in line, tasks expire, workers that were lost
// for long are given up, and tasks that wait at a slow worker are recalled for an idle
// one. It returns the workers that have taken nothing for the time of a lease, each of them
// once until it takes something.
func (q *Queue) Tick(now int64) (silent []string) {
	for t := q.times[delayTimer].due(now); t != nil; t = q.times[delayTimer].due(now) {
		q.times[delayTimer].remove(t)
		t.state = stateReady
		q.ready.push(t, false)
	}
	for t := q.times[expiryTimer].due(now); t != nil; t = q.times[expiryTimer].due(now) {
		q.times[expiryTimer].remove(t)
		q.expire(t, now)
	}
	if len(q.awaited) > 0 && now >= q.giveUp {
		q.giveUpAwaited(now)
	}
	q.giveUpLost(now)
	if now-q.looked >= leaseEvery {
		q.looked = now
		silent = q.leases(now)
	}
	due := now-q.balanced >= recallEvery
	if due {
		q.balanced = now
		q.relieve(now)
	}
	q.assign(now)
	if due {
		q.balance(now)
	}
	return silent
}

// expire handles a task whose time is over.
func (q *Queue) expire(t *Task, now int64) {
	if t.state == stateUnsure {
		// A worker may be running it. It expires when that is known.
		return
	}
	if t.state != stateHeld || !t.taken {
		if t.state == stateHeld {
			q.unbind(t)
		}
		q.end(t, Expired, now)
		return
	}
	// The worker knows the deadline and reports the outcome of the task. If it does not,
	// the lease or the connection ends.
	t.worker.order(&t.worker.cancels, t.Seq)
}

// giveUpLost takes back the tasks of workers that have been lost for Options.Grace.
func (q *Queue) giveUpLost(now int64) {
	if q.lost == 0 || now < q.giveUpAt {
		return
	}
	q.giveUpAt = 0
	for _, w := range q.workers {
		if w.connected {
			continue
		}
		switch over := w.lostAt + int64(q.opts.Grace); {
		case over <= now:
			q.lose(w, now, causeLost, w.slots)
		case q.giveUpAt == 0 || over < q.giveUpAt:
			q.giveUpAt = over
		}
	}
}

// leases takes back the tasks whose leases have ended, since their workers no longer report them. It
// returns the workers that have been stuck for as long as a lease, each once.
func (q *Queue) leases(now int64) (silent []string) {
	for _, w := range q.workers {
		if w.stuck != 0 && w.connected && !w.told && now-w.stuck >= int64(q.opts.Lease) {
			w.told = true
			silent = append(silent, w.id)
		}
		for t := w.held.head; t != nil; {
			next := t.place.next
			if t.taken && now-t.vouched >= int64(q.opts.Lease) {
				w.order(&w.cancels, t.Seq)
				q.unbind(t)
				q.fail(t, w, causeLease, -1, now)
			}
			t = next
		}
	}
	return silent
}

// relieve puts tasks back in line that have waited too long for the writer of their worker. If the
// writer does not come, because it waits for credit, the worker gets nothing new until it does. If the
// writer is sending a long task in parts, the tasks go back only if another worker would begin a long
// one at once.
func (q *Queue) relieve(now int64) {
	for _, w := range q.workers {
		if len(w.out) == 0 || now-w.out[0].boundAt < recallEvery {
			continue
		}
		if now-w.came >= recallEvery {
			w.stuck = now
		}
		if w.stuck != 0 || w.sending != 0 && slices.ContainsFunc(q.avail, (*Worker).beginsLong) {
			q.untake(w, now)
		}
	}
}

// beginsLong reports whether a worker with credit would begin at once a task that needs parts.
func (w *Worker) beginsLong() bool { return w.sending == 0 && w.held.n < w.slots }

// Vouch notes that a worker reports to have tasks, which extends their leases. It cannot have one
// that is still being sent in parts.
func (q *Queue) Vouch(w *Worker, seqs []uint64, now int64) {
	for _, seq := range seqs {
		if t := q.tasks.Get(seq); t != nil && t.worker == w && seq != w.sending {
			t.vouched = now
		}
	}
}

// balance recalls tasks that have not begun from workers where they wait longer than an
// idle worker would take, the last ones first.
func (q *Queue) balance(now int64) {
	if q.ready.n > 0 || len(q.avail) == 0 {
		return
	}
	free := 0
	fastest := 0.0
	for _, w := range q.avail {
		if room := min(w.window, w.slots) - w.held.n; room > 0 {
			free += room
			if fastest == 0 || w.service < fastest {
				fastest = w.service
			}
		}
	}
	for free > 0 {
		var from *Worker
		var tail *Task
		for _, w := range q.workers {
			if !w.connected || q.whole(w) <= w.slots {
				continue
			}
			t := w.arrived(w.held.tail)
			if t.recalled || now-t.boundAt < recallEvery {
				continue
			}
			if w.wait(now) > 2*fastest && (from == nil || w.wait(now) > from.wait(now)) {
				from, tail = w, t
			}
		}
		if from == nil {
			return
		}
		n := 0
		for t := tail; t != nil && free > 0 && q.whole(from)-n > from.slots && !t.recalled; t = from.arrived(t.place.prev) {
			if !from.order(&from.recalls, t.Seq) {
				return
			}
			t.recalled = true
			q.stats.Recalled++
			free--
			n++
		}
		if n == 0 {
			return
		}
	}
}

// whole returns how many of a worker's tasks were sent completely.
func (q *Queue) whole(w *Worker) int {
	n := w.held.n - len(w.out)
	if q.inParts(w) != nil {
		n--
	}
	return n
}

// arrived returns the last task, from t back to the first, that was sent to the worker completely, so
// that it can be asked to give the task back.
func (w *Worker) arrived(t *Task) *Task {
	for t != nil && (!t.taken || t.Seq == w.sending) {
		t = t.place.prev
	}
	return t
}

// Next returns when Tick has something to do, or 0 if never. It takes constant time,
// regardless of the number of tasks and workers.
func (q *Queue) Next() int64 {
	next := q.times[delayTimer].next()
	soon := func(at int64) {
		if at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	soon(q.times[expiryTimer].next())
	if q.count > 0 {
		soon(q.looked + leaseEvery)
	}
	if q.lost > 0 {
		soon(q.giveUpAt)
	}
	if len(q.awaited) > 0 {
		soon(q.giveUp)
	}
	if q.behind > 0 && len(q.workers) > 1 {
		soon(q.balanced + recallEvery)
	}
	return next
}
