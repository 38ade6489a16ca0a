package queue

import "github.com/linkmesh/link/protocol/pipeline/internal/frame"

// MaxPriority is the highest priority; 0 is the lowest.
const MaxPriority = 9

// End is how a task ended.
type End uint8

// The ends of tasks. Open means that a task has not ended.
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
	// stateNew is a reserved task.
	stateNew
	stateKeyed
	// stateUnsure is a restored task that goes in line unless a worker of an earlier run turns out to have it.
	stateUnsure
	stateReady
	stateDelayed
	stateHeld
	stateEnded
)

// Task is one task. The caller sets the first fields before Add and must not change any field
// after that.
type Task struct {
	// Body is the body as it is sent.
	Body []byte
	// Key is empty or the key whose tasks are done one after the other.
	Key string
	// Tenant is whose share of the workers the task uses. Tenants have equal shares.
	Tenant string
	// ID is empty or such that a second task with it is not added within the window.
	ID        string
	Priority  uint8
	NotBefore int64
	// Expires is when the task must have begun, Deadline when it must be done. 0 means that there is no bound.
	Expires  int64
	Deadline int64
	// Owner belongs to the caller.
	Owner any

	Seq   uint64
	Added int64
	// Attempts counts the attempts that counted.
	Attempts int
	// History lists the deliveries that did not succeed.
	History []Attempt

	// The outcome, once the task has ended.
	End    End
	Result []byte
	Worker string
	Cause  string

	course
	spots
}

// course is how far a task is on its way.
type course struct {
	state state
	// canceled is set if Cancel was called and could not end the task at once.
	canceled bool
	// restored is set if an earlier run of the queue accepted the task, adopted if the worker has it from that run.
	restored bool
	adopted  bool
	// known is set if the ID was remembered when the task was acked.
	known bool
	// behind is set if the task has ended and keeps its place behind others of its key until that is written.
	behind bool
	// late is set if a worker that had the task before has acked it. The task ends when the one that has it answers.
	late     *ack
	recalled bool
	began    bool
	// taken is set when the writer has taken the task, so that the worker may know it.
	taken    bool
	releases int
	delivery uint32
	fence    uint64
	worker   *Worker
	avoid    *Worker
	boundAt  int64
	// vouched is when the worker last reported that it has the task.
	vouched int64
}

// spots are where a task is in the lists of its queue.
type spots struct {
	// place is the link in the list of the task's tenant, key or worker, line the one in the order of age.
	place link
	line  link
	lane  *tenant
	at    [2]int64
	idx   [2]int
}

// ack says that a task was done, with a result unless it is nil.
type ack struct {
	worker string
	result []byte
}

// overhead is about how many bytes a task takes besides its body.
const overhead = 400

func (t *Task) size() int { return len(t.Body) + overhead }

// record returns an upper bound of the bytes of the task's record.
func (t *Task) record() int { return len(t.Body) + frame.MaxTaskHead }

// Size returns how many bytes the task counts against Options.MaxBytes.
func (t *Task) Size() int { return t.size() }

// Remembered reports whether an acked task is remembered by its ID. If so, Log.Forgot is
// called when that ends.
func (t *Task) Remembered() bool { return t.known }

// expiry returns when the task may expire next, or 0 if never.
func (t *Task) expiry() int64 {
	if t.Expires != 0 && (t.Deadline == 0 || t.Expires < t.Deadline) && t.state != stateHeld {
		return t.Expires
	}
	return t.Deadline
}

// link is a place in a list.
type link struct{ prev, next *Task }

// list is a list of tasks by their line, which is by age. Lists by place have methods of
// their own, since a task may be in one list of each kind at the same time.
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
