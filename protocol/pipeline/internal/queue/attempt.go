package queue

// Attempt is one delivery that did not succeed.
type Attempt struct {
	Worker string
	// Began is when the task was bound to the worker.
	Began int64
	Ended int64
	Cause string
	// Counted reports whether the delivery used up an attempt.
	Counted bool
}

// The causes that the queue itself gives for attempts that failed.
const (
	causeLease = "the worker said nothing of it for the time of its lease"
	causeAnew  = "the worker started anew"
	causeLost  = "the connection to the worker was lost"
)

// The causes that callers give to GiveUp.
const (
	CauseUnlisted = causeLost + ", and it is not found any more"
	CauseGone     = "the process of the worker is gone"
)

// Outcome says how the delivery ended: "released", "lease ended", "disconnected" or "failed". It tells
// the first three by Counted and Cause, because the records of a durable queue hold nothing else.
func (a *Attempt) Outcome() string {
	if !a.Counted {
		return "released"
	}
	switch a.Cause {
	case causeLease:
		return "lease ended"
	case causeAnew, causeLost, CauseUnlisted, CauseGone:
		return "disconnected"
	}
	return "failed"
}

// maxHistory bounds the history of a task. The oldest deliveries that did not count are
// dropped first.
const maxHistory = 32

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
