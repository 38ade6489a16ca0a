package queue

import "time"

// Stats counts what a queue did since it was made.
type Stats struct {
	Added, Duplicates, Failed, Released, Recalled, Late uint64
	DeadDropped                                         uint64
	Ends                                                [Returned + 1]uint64
}

// State is what a queue holds at a moment. Oldest is the age of the oldest task, or 0 if there is none.
type State struct {
	Stats
	Depth, Ready, Delayed, Keyed, InFlight, Dead int
	Bytes                                        int64
	Oldest                                       time.Duration
	Workers                                      []WorkerState
}

// WorkerState is what a queue knows about one worker.
type WorkerState struct {
	ID                      string
	Connected               bool
	Slots, Window, InFlight int
	Service                 time.Duration
	Acked                   uint64
}

// State returns what the queue holds.
func (q *Queue) State(now int64) State {
	s := State{Stats: q.stats, Depth: q.count, Ready: q.ready.n, Delayed: len(q.times[delayTimer].tasks), Dead: len(q.dead.tasks), Bytes: q.bytes}
	for _, w := range q.workers {
		s.InFlight += w.held.n
		s.Workers = append(s.Workers, WorkerState{w.id, w.connected, w.slots, w.window, w.held.n, time.Duration(w.service), w.acked})
	}
	s.Keyed = s.Depth - s.Ready - s.Delayed - s.InFlight
	if t := q.oldest.head; t != nil {
		s.Oldest = time.Duration(max(now-t.Added, 0))
	}
	return s
}

// Backlog returns how many tasks wait for a worker, and the age of the oldest task of the
// queue, waiting or not.
func (q *Queue) Backlog(now int64) (pending int, oldest time.Duration) {
	if t := q.oldest.head; t != nil {
		oldest = time.Duration(max(now-t.Added, 0))
	}
	return q.ready.n, oldest
}

// Connected returns how many workers are connected.
func (q *Queue) Connected() int { return len(q.workers) - q.lost }

// All yields the tasks that have not ended, in the order in which they were added.
func (q *Queue) All(yield func(t *Task) bool) {
	for t := q.oldest.head; t != nil; {
		next := t.line.next
		if !yield(t) {
			return
		}
		t = next
	}
}
