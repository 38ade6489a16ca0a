package pool

import (
	"math"
	"time"
)

type state uint8

const (
	stateQueued state = iota
	stateRunning
	stateGone // answered for, though its handler may run still
)

// Task is a task that a pool holds.
type Task struct {
	Source   *Source
	Seq      uint64
	Attempt  uint64
	Fence    uint64
	Body     []byte
	Deadline int64 // 0 is none
	Owner    any   // the caller's

	delivery uint64
	over     error // its time is over, and its handler has not returned; its key waits for that
	lost     bool  // its producer was lost, and may come back
	start    int64 // it must have begun before; 0 is none
	arrived  int64
	began    int64
	until    int64 // it may run
	state    state
	queue    link // in its source's queue
	run      link // in the pool's running tasks
}

// Delivery is how many times the task was sent to a worker, this one included.
func (t *Task) Delivery() uint64 { return t.delivery }

// Began is when the handler began.
func (t *Task) Began() int64 { return t.began }

type link struct{ prev, next *Task }

// places is a list of tasks, by their link in running or in a queue.
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

// after is the time d from now, or the last that there is.
func after(now int64, d time.Duration) int64 {
	return now + min(int64(d), math.MaxInt64-now)
}

// Extend lets the handler of a task run for so much longer from now.
func (p *Pool) Extend(t *Task, d time.Duration, now int64) {
	if t.state == stateRunning && t.over == nil {
		t.until = max(t.until, after(now, d))
	}
}
