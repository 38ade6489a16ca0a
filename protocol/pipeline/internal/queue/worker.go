package queue

import (
	"slices"
	"time"
)

// Worker is what a queue knows of one worker. Its fields are the queue's.
type Worker struct {
	id    string
	epoch uint64
	ready chan struct{}

	connected bool
	leaving   bool  // it takes nothing new
	stuck     int64 // since when it gets nothing new, as its writer does not come for what is to be sent; 0 is not
	told      bool  // that it is stuck
	came      int64 // when its writer came last
	lostAt    int64 // when the connection was lost, if it is

	window, slots int
	bytes         int64
	held          places // in the order in which they were bound
	heldBytes     int64
	out           []*Task // bound and not yet taken, oldest first
	outBytes      int     // of those of out that go in one frame
	outLong       int     // how many of out do not
	recalls       []uint64
	cancels       []uint64
	most          int    // bytes of a frame to it, as the writer said last
	sending       uint64 // the number of a task that goes in parts; 0 is none
	sendingSince  int64

	service float64 // moving average of what a task takes, in nanoseconds
	served  uint64
	acked   uint64

	availIdx, idleIdx int
	behind            bool
	lost              bool
}

// ID returns the worker's instance.
func (w *Worker) ID() string { return w.id }

// Ready holds a token when there is something to send.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

func (w *Worker) wake() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// Held lists the tasks that a worker may have, to ask it about on a new stream.
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
	Epoch   uint64   // if it is another than before, the worker has forgotten everything
	Slots   int      // how many tasks it runs at once
	Asked   []uint64 // what it was asked about, as Held listed it
	Unknown []uint64 // of these
	Running []uint64 // what an earlier run of the queue gave it: number and delivery of each, in turn
}

// Join takes in what a worker answered: what it does not know of what it was asked about,
// and what it runs that an earlier run of the queue gave it. What it was asked about and does
// not have any more it is told to cancel.
func (q *Queue) Join(id string, in Welcome, now int64) *Worker {
	w, epoch, slots, unknown := q.workers[id], in.Epoch, in.Slots, in.Unknown
	if w != nil && w.epoch != epoch {
		q.forget(w, now, "the worker started anew", w.slots)
		w = nil
	}
	if w == nil {
		w = &Worker{id: id, epoch: epoch, availIdx: -1, idleIdx: -1, most: firstFrame}
		q.workers[id] = w
	}
	// A channel of its own for each stream: that of an earlier one must get no token.
	w.ready = make(chan struct{}, 1)
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
		if t.canceled || t.late != nil { // it may not have been told
			w.order(&w.cancels, t.Seq)
		}
	}
	unknown = slices.Sorted(slices.Values(unknown))
	for _, seq := range in.Asked { // it may be with another by now, or have ended, and its handler here is in vain
		_, never := slices.BinarySearch(unknown, seq)
		if t := q.tasks.Get(seq); !never && (t == nil || t.worker != w) {
			w.order(&w.cancels, seq)
		}
	}
	q.refresh(w)
	q.assign(now)
	return w
}

// Window takes in how much a worker may hold. By the first it has said what it has of an
// earlier run.
func (q *Queue) Window(w *Worker, tasks, bytes uint64, now int64) {
	q.heard(w.id, now)
	w.window = int(min(tasks, MaxWindow))
	w.bytes = int64(min(bytes, uint64(q.opts.MaxBytes)))
	q.refresh(w)
	q.assign(now)
	if w.window == 0 && q.ready.n > 0 { // it may not know that
		w.wake()
	}
}

// Leave lets a worker have nothing new. Its Ready holds a token when it holds nothing
// any more.
func (q *Queue) Leave(w *Worker) {
	w.leaving = true
	q.refresh(w)
	if w.held.n == 0 {
		w.wake()
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

// Disconnect notes that the stream to a worker has ended, on which it was heard of last at
// a time. If it ended clean the worker has answered for all that has reached it, and the
// rest has not begun; else it has until Options.Grace after that time to come back.
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
	q.untake(w, now)                 // it cannot know of these
	if t := q.inParts(w); t != nil { // it has not arrived
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

// Awaited reports whether a worker that is not connected may come back with what it had.
func (q *Queue) Awaited(id string) bool {
	w := q.workers[id]
	return w != nil && !w.connected
}

// GiveUp takes back what a worker has that is not connected and is not awaited, for a
// cause.
func (q *Queue) GiveUp(id, cause string, now int64) {
	if w := q.workers[id]; w != nil && !w.connected {
		q.lose(w, now, cause, w.slots)
		q.assign(now)
	}
}

// lose forgets a worker that is not to come back with what it had.
func (q *Queue) lose(w *Worker, now int64, cause string, begun int) {
	q.forget(w, now, cause, begun)
	if q.opts.Log != nil {
		q.opts.Log.Gone(w.id)
	}
}

// forget takes back what a worker holds. The first of its tasks may have begun, as many
// as begun says. A task that is lost with its worker for the first time is not suspected to be
// the reason, and does not wait.
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

// firstFrame is how many bytes a frame to a worker has before its writer has said that.
const firstFrame = 4 << 10

// hasRoom reports whether less waits for the writer of a worker than it takes when it comes: a
// frame, and a long task if none is going in parts.
func (w *Worker) hasRoom() bool { return w.outBytes < w.most && (w.outLong == 0 || w.sending != 0) }

// refresh puts a worker among those with credit, or takes it out.
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
