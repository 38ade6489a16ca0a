package transport

import (
	"sync"
	"sync/atomic"
	"time"
)

// rest is the state of a CALLS stream between two calls, and who ends it: the next
// call, or the janitor, who closes the stream. It is 0 while a call is under way,
// restOver once the janitor has ended it, and otherwise the second, and one, in which
// it began.
type rest struct{ since atomic.Int64 }

const restOver = -1

func (r *rest) begin(second int64) { r.since.Store(second + 1) }

// end reports whether the stream may go on.
func (r *rest) end() bool {
	since := r.since.Load()
	return since == 0 || since != restOver && r.since.CompareAndSwap(since, 0)
}

// expire ends a rest that began before the second.
func (r *rest) expire(second int64) bool {
	since := r.since.Load()
	return since > 0 && since <= second && r.since.CompareAndSwap(since, restOver)
}

// errRested means that the peer has neither used nor closed its stream for long. No
// handler saw what it sends at this moment.
var errRested = &Error{Reason: ReasonRefused, NotProcessed: true, Detail: "a call stream was idle for Limits.StreamIdle"}

// restingCalls are the CALLS streams of an accepted session.
type restingCalls struct {
	mu    sync.Mutex // guards calls
	calls map[*Call]struct{}
}

func (r *restingCalls) add(c *Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil {
		r.calls = make(map[*Call]struct{})
	}
	r.calls[c] = struct{}{}
}

func (r *restingCalls) remove(c *Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, c)
}

// expire closes the streams that carried no call since the second.
func (r *restingCalls) expire(second int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.calls {
		if c.rest.expire(second) {
			_ = c.stream.SetReadDeadline(time.Now()) // wakes its reader; it never fails
		}
	}
}
