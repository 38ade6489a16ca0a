package pool

import (
	"math"
	"time"
)

type state uint8

const (
	stateQueued state = iota
	stateRunning
	// stateGone is a task that is no longer held, though its handler may still run.
	stateGone
)

// Task is a task that a pool holds. Owner belongs to the caller. A Deadline of 0 means none.
type Task struct {
	Source   *Source
	Seq      uint64
	Attempt  uint64
	Fence    uint64
	Body     []byte
	Deadline int64
	Owner    any

	delivery uint64
	// over is why the time of a task with a key is over while its handler runs. The key waits for the handler.
	over error
	// lost is set if the producer was lost, and may come back.
	lost bool
	// start is when the task must have begun; 0 means that there is no bound.
	start   int64
	arrived int64
	began   int64
	// until is when the handler has run for too long.
	until int64
	state state
	// queue is the link in the source's queue, run the one in the pool's running tasks.
	queue link
	run   link
}

// Delivery returns how many times the task was sent to a worker, including this one.
func (t *Task) Delivery() uint64 { return t.delivery }

// Began returns when the handler began.
func (t *Task) Began() int64 { return t.began }

type link struct{ prev, next *Task }

// places is a list of tasks by one of their links: the one of queues if queue is set, or else
// the one of running tasks.
type places struct {
	head, tail *Task
	n          int
	queue      bool
}

func (l *places) at(t *Task) *link {
	if l.queue {
		return &t.queue
	}
	return &t.run
}

func (l *places) push(t *Task) {
	*l.at(t) = link{prev: l.tail}
	if l.tail != nil {
		l.at(l.tail).next = t
	} else {
		l.head = t
	}
	l.tail = t
	l.n++
}

func (l *places) remove(t *Task) {
	at := l.at(t)
	if at.prev != nil {
		l.at(at.prev).next = at.next
	} else {
		l.head = at.next
	}
	if at.next != nil {
		l.at(at.next).prev = at.prev
	} else {
		l.tail = at.prev
	}
	*at = link{}
	l.n--
}

// after returns the time d from now, or the latest time that an int64 can hold.
func after(now int64, d time.Duration) int64 {
	return now + min(int64(d), math.MaxInt64-now)
}

// Extend lets the handler of a task run at least until d from now, unless its time is over already.
func (p *Pool) Extend(t *Task, d time.Duration, now int64) {
	if t.state == stateRunning && t.over == nil {
		t.until = max(t.until, after(now, d))
	}
}
