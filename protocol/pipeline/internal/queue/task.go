package queue

import "github.com/linkmesh/link/protocol/pipeline/internal/frame"

// MaxPriority is the highest priority; 0 is the lowest.
const MaxPriority = 9

// End is how a task ended.
type End uint8

// The ends of tasks. Open is that of tasks that have not ended.
const (
	Open End = iota
	Acked
	DeadLettered
	Expired
	Canceled
	Returned
)

// String returns the end in words.
func (e End) String() string {
	return [...]string{"open", "acked", "dead-lettered", "expired", "canceled", "returned"}[min(e, Returned)]
}

type state uint8

const (
	stateNone state = iota
	stateNew        // reserved
	stateKeyed
	stateUnsure // in line, once it is known what workers of an earlier run have of it
	stateReady
	stateDelayed
	stateHeld
	stateEnded
)

// Task is one task. The first fields are the caller's to set before Add, and none is
// to be changed after.
type Task struct {
	Body      []byte // as it is sent
	Key       string // tasks of one key are done one after the other
	Tenant    string // tenants have equal shares
	ID        string // a second task with the same ID within the window is not added
	Priority  uint8
	NotBefore int64
	Expires   int64 // it must begin before; 0 is none
	Deadline  int64 // it must be done by; 0 is none
	Owner     any   // the caller's

	Seq      uint64
	Added    int64
	Attempts int       // attempts that counted
	History  []Attempt // deliveries that did not succeed

	// What became of it, once it has ended.
	End    End
	Result []byte
	Worker string
	Cause  string

	state    state
	canceled bool // its end is wanted
	restored bool // an earlier run of the queue took it
	adopted  bool // the worker has it from that
	known    bool // its ID is remembered
	behind   bool // it has ended, and waits for its key until that is written
	late     *ack // it is done, as a worker said that had it before: it ends when the one that has it answers
	recalled bool
	began    bool
	taken    bool // by the writer, so that the worker may know of it
	releases int
	delivery uint32
	fence    uint64
	worker   *Worker
	avoid    *Worker
	boundAt  int64
	vouched  int64 // when the worker last said that it has it

	place link // in the list of its tenant, key or worker
	line  link // in the order of age
	lane  *tenant
	at    [2]int64
	idx   [2]int
}

// ack is that a task was done, with a result unless that is nil.
type ack struct {
	worker string
	result []byte
}

// Attempt is one delivery that did not succeed.
type Attempt struct {
	Worker  string
	Began   int64 // when it was bound to the worker
	Ended   int64
	Cause   string
	Counted bool // against the attempts that a task has
}

// maxHistory bounds a task's history; the oldest deliveries that did not count go
// first.
const maxHistory = 32

// overhead is about what a task takes beside its body, in bytes.
const overhead = 400

func (t *Task) size() int { return len(t.Body) + overhead }

// record bounds the bytes of the record that is sent of it.
func (t *Task) record() int { return len(t.Body) + frame.MaxTaskHead }

// Size is what the task counts against Options.MaxBytes.
func (t *Task) Size() int { return t.size() }

// Remembered reports whether a task that was acked is known by its ID; if so, and there
// is a Log, that is told when it is not any more.
func (t *Task) Remembered() bool { return t.known }

// expiry is when the task has to be looked at; 0 is never.
func (t *Task) expiry() int64 {
	if t.Expires != 0 && (t.Deadline == 0 || t.Expires < t.Deadline) && t.state != stateHeld {
		return t.Expires
	}
	return t.Deadline
}

func (t *Task) note(a Attempt) {
	if len(t.History) >= maxHistory {
		at := 0
		for i, h := range t.History {
			if !h.Counted {
				at = i
				break
			}
		}
		t.History = append(t.History[:at], t.History[at+1:]...)
	}
	t.History = append(t.History, a)
}

// link is a place in a list.
type link struct{ prev, next *Task }

// list is a list of tasks by their age. The lists by place have functions of their
// own, since a task is in one of each at once.
type list struct{ head, tail *Task }

func (l *list) push(t *Task) {
	t.line = link{prev: l.tail}
	if l.tail != nil {
		l.tail.line.next = t
	} else {
		l.head = t
	}
	l.tail = t
}

func (l *list) remove(t *Task) {
	if t.line.prev != nil {
		t.line.prev.line.next = t.line.next
	} else {
		l.head = t.line.next
	}
	if t.line.next != nil {
		t.line.next.line.prev = t.line.prev
	} else {
		l.tail = t.line.prev
	}
	t.line = link{}
}

// places is a list of tasks by their place.
type places struct {
	head, tail *Task
	n          int
}

func (l *places) push(t *Task) {
	t.place = link{prev: l.tail}
	if l.tail != nil {
		l.tail.place.next = t
	} else {
		l.head = t
	}
	l.tail = t
	l.n++
}

func (l *places) pushFront(t *Task) {
	t.place = link{next: l.head}
	if l.head != nil {
		l.head.place.prev = t
	} else {
		l.tail = t
	}
	l.head = t
	l.n++
}

func (l *places) remove(t *Task) {
	if t.place.prev != nil {
		t.place.prev.place.next = t.place.next
	} else {
		l.head = t.place.next
	}
	if t.place.next != nil {
		t.place.next.place.prev = t.place.prev
	} else {
		l.tail = t.place.prev
	}
	t.place = link{}
	l.n--
}
