package queue

import (
	"slices"
	"time"

	"github.com/linkmesh/link/internal/notify"
)

// Worker is what a queue knows about one worker. Its fields belong to the queue.
type Worker struct {
	id    string
	epoch uint64
	ready notify.Flag

	connected bool
	// leaving is set if the worker takes nothing new.
	leaving bool
	// stuck is since when the worker gets nothing new because its writer does not take what is to be sent. It is
	// 0 if the worker is not stuck. told is set once Tick has returned the worker for that.
	stuck int64
	told  bool
	// came is when the writer last took tasks.
	came int64
	// lostAt is when the worker was last heard from before the connection was lost, or 0 if it is connected.
	lostAt int64

	window, slots int
	bytes         int64
	// held has the worker's tasks in the order in which they were bound.
	held      places
	heldBytes int64
	outgoing

	pace

	availIdx, idleIdx int
	behind            bool
	lost              bool
}

// pace is how fast a worker is, and what it has done.
type pace struct {
	// service is a moving average of the time that a task takes, in nanoseconds.
	service float64
	served  uint64
	acked   uint64
}

// outgoing is what is to be sent to a worker.
type outgoing struct {
	// out has the tasks that are bound and not yet taken, oldest first. outBytes is the size of those that fit
	// in one frame, outLong the number of the others.
	out      []*Task
	outBytes int
	outLong  int
	recalls  []uint64
	cancels  []uint64
	// most is how many bytes a frame to the worker may have, as the writer last said.
	most int
	// sending is the number of the task that is being sent in parts, or 0 if there is none.
	sending      uint64
	sendingSince int64
}

// ID returns the worker's instance.
func (w *Worker) ID() string { return w.id }

// Ready returns a channel that holds a token when there is something to send. Each stream has its own.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// Held lists the tasks that a worker may have, which it is asked about on a new stream.
func (q *Queue) Held(id string) []uint64 {
	w := q.workers[id]
	if w == nil {
		return nil
	}
	var out []uint64
	for t := w.held.head; t != nil; t = t.place.next {
		if t.taken {
			out = append(out, t.Seq)
		}
	}
	return out
}

// Welcome is what a worker answers on a new stream.
type Welcome struct {
	// Epoch differs from the one before if the worker has forgotten everything.
	Epoch uint64
	// Slots is how many tasks the worker runs at once.
	Slots int
	// Asked is what the worker was asked about, as Held listed it. It does not know those in Unknown.
	Asked   []uint64
	Unknown []uint64
	// Running has the number and the delivery of each running task of an earlier run of the queue, in turn.
	Running []uint64
}

// Join applies the answer of a worker: which of the tasks that it was asked about it does not know,
// and which tasks of an earlier run of the queue it runs. The worker is told to cancel what it was
// asked about if the task is no longer its own.
func (q *Queue) Join(id string, in Welcome, now int64) *Worker {
	w, epoch, slots, unknown := q.workers[id], in.Epoch, in.Slots, in.Unknown
	if w != nil && w.epoch != epoch {
		q.forget(w, now, causeAnew, w.slots)
		w = nil
	}
	if w == nil {
		w = &Worker{id: id, epoch: epoch, availIdx: -1, idleIdx: -1, outgoing: outgoing{most: firstFrame}}
		q.workers[id] = w
	}
	// Each stream has its own channel, because the one of an earlier stream must get no tokens.
	w.ready = notify.NewFlag()
	w.connected, w.leaving, w.stuck, w.told, w.lostAt = true, false, 0, false, 0
	w.came = now
	w.window, w.bytes = 0, 0
	w.slots = max(slots, 1)
	for t := w.held.head; t != nil; t = t.place.next {
		t.vouched = now
	}
	for _, seq := range unknown {
		if t := q.tasks.Get(seq); t != nil && t.worker == w {
			q.unbind(t)
			q.giveBack(t, "the connection was lost before it arrived", true, now)
		}
	}
	for i := 0; i+1 < len(in.Running); i += 2 {
		q.adopt(w, in.Running[i], in.Running[i+1], now)
	}
	for t := w.held.head; t != nil; t = t.place.next {
		// The worker may not have been told to cancel it.
		if t.canceled || t.late != nil {
			w.order(&w.cancels, t.Seq)
		}
	}
	unknown = slices.Sorted(slices.Values(unknown))
	// Tasks may be with another worker by now, or have ended, and their handlers here run in vain.
	for _, seq := range in.Asked {
		_, never := slices.BinarySearch(unknown, seq)
		if t := q.tasks.Get(seq); !never && (t == nil || t.worker != w) {
			w.order(&w.cancels, seq)
		}
	}
	q.refresh(w)
	q.assign(now)
	return w
}

// Window sets how much a worker may hold. With its first window, the worker has reported all that
// it has of an earlier run.
func (q *Queue) Window(w *Worker, tasks, bytes uint64, now int64) {
	q.heard(w.id, now)
	w.window = int(min(tasks, MaxWindow))
	w.bytes = int64(min(bytes, uint64(q.opts.MaxBytes)))
	q.refresh(w)
	q.assign(now)
	// The worker may not know that tasks wait.
	if w.window == 0 && q.ready.n > 0 {
		w.ready.Set()
	}
}

// Leave gives a worker nothing new. Its Ready gets a token when it holds nothing any more.
func (q *Queue) Leave(w *Worker) {
	w.leaving = true
	q.refresh(w)
	if w.held.n == 0 {
		w.ready.Set()
	}
}

// Stay undoes Leave.
func (q *Queue) Stay(w *Worker, now int64) {
	w.leaving = false
	q.refresh(w)
	q.assign(now)
}

// Holds returns how many tasks a worker has.
func (w *Worker) Holds() int { return w.held.n }

// Disconnect notes that the stream to a worker has ended. heard is when the worker was last heard
// from. If the stream ended cleanly, the worker has answered for all that reached it, and the rest
// has not begun. Otherwise it has until Options.Grace after heard to come back.
func (q *Queue) Disconnect(w *Worker, clean bool, heard, now int64) {
	if q.workers[w.id] != w || !w.connected {
		return
	}
	w.connected, w.lostAt = false, heard
	if at := heard + int64(q.opts.Grace); q.giveUpAt == 0 || at < q.giveUpAt {
		q.giveUpAt = at
	}
	w.recalls, w.cancels = nil, nil
	q.refresh(w)
	// The worker cannot know tasks that were not taken, or not sent completely.
	q.untake(w, now)
	if t := q.inParts(w); t != nil {
		q.unbind(t)
		q.giveBack(t, "", true, now)
	}
	w.sending = 0
	for t := w.held.head; t != nil; t = t.place.next {
		t.recalled = false
	}
	if clean || w.held.n == 0 {
		q.lose(w, now, "the worker left", 0)
	}
	q.assign(now)
}

// Awaited reports whether a worker is not connected but may come back with its tasks.
func (q *Queue) Awaited(id string) bool {
	w := q.workers[id]
	return w != nil && !w.connected
}

// GiveUp takes back the tasks of a worker that is not connected and will not come back, for
// a cause.
func (q *Queue) GiveUp(id, cause string, now int64) {
	if w := q.workers[id]; w != nil && !w.connected {
		q.lose(w, now, cause, w.slots)
		q.assign(now)
	}
}

// lose forgets a worker that is not expected back with its tasks, and logs that it is gone.
func (q *Queue) lose(w *Worker, now int64, cause string, begun int) {
	q.forget(w, now, cause, begun)
	if q.opts.Log != nil {
		q.opts.Log.Gone(w.id)
	}
}

// forget takes back the tasks of a worker. The first begun of them may have begun. If such a
// task has not failed before, it is not suspected to have caused the loss, and does not wait.
func (q *Queue) forget(w *Worker, now int64, cause string, begun int) {
	w.connected = false
	delete(q.workers, w.id)
	q.refresh(w)
	w.out = nil
	for i := 0; w.held.head != nil; i++ {
		t := w.held.head
		taken := t.taken
		q.unbind(t)
		if taken && i < begun {
			pause := time.Duration(-1)
			if t.Attempts == 0 {
				pause = 0
			}
			q.fail(t, w, cause, pause, now)
		} else {
			q.giveBack(t, cause, true, now)
		}
	}
}

// firstFrame is how many bytes a frame to a worker may have until its writer has said so.
const firstFrame = 4 << 10

// hasRoom reports whether less waits for the writer of a worker than it takes at once: a frame, and a
// long task if none is being sent in parts.
func (w *Worker) hasRoom() bool { return w.outBytes < w.most && (w.outLong == 0 || w.sending != 0) }

// refresh updates the lists and counters of the queue after a change to a worker.
func (q *Queue) refresh(w *Worker) {
	if lost := !w.connected && q.workers[w.id] == w; lost != w.lost {
		w.lost = lost
		q.lost += step(lost)
	}
	if behind := w.connected && (w.held.n > w.slots || len(w.out) > 0); behind != w.behind {
		w.behind = behind
		q.behind += step(behind)
	}
	has := w.connected && !w.leaving && w.stuck == 0 && w.hasRoom() && w.held.n < w.window && (w.heldBytes < w.bytes || w.held.n == 0)
	if has != (w.availIdx >= 0) {
		if has {
			w.availIdx = len(q.avail)
			q.avail = append(q.avail, w)
		} else {
			last := q.avail[len(q.avail)-1]
			q.avail[w.availIdx], last.availIdx = last, w.availIdx
			q.avail = q.avail[:len(q.avail)-1]
			w.availIdx = -1
		}
	}
	idle := has && w.held.n == 0
	if idle != (w.idleIdx >= 0) {
		if idle {
			w.idleIdx = len(q.idle)
			q.idle = append(q.idle, w)
		} else {
			last := q.idle[len(q.idle)-1]
			q.idle[w.idleIdx], last.idleIdx = last, w.idleIdx
			q.idle = q.idle[:len(q.idle)-1]
			w.idleIdx = -1
		}
	}
}

func step(up bool) int {
	if up {
		return 1
	}
	return -1
}
