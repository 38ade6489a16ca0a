package transport

import (
	"sync"
	"sync/atomic"
	"time"
)

// rest is the state of a CALLS stream between two calls. It is ended by the next call
// or by the janitor, which closes the stream. since is 0 while a call is in flight,
// restOver once the janitor has ended the rest, and otherwise one more than the second
// in which the rest began.
type rest struct {
	since atomic.Int64
	// began is the second in which the rest began. Only a call ends the rest, whatever else has
	// come since. Only the goroutine that reads the stream uses it.
	began int64
}

const restOver = -1

func (r *rest) begin(second int64) {
	r.began = second
	r.since.Store(second + 1)
}

// end ends the rest for the next call, and reports whether the stream may go on.
func (r *rest) end() bool {
	since := r.since.Load()
	return since == 0 || since != restOver && r.since.CompareAndSwap(since, 0)
}

// expire ends a rest that began before the given second, and reports whether it did.
func (r *rest) expire(second int64) bool {
	since := r.since.Load()
	return since > 0 && since <= second && r.since.CompareAndSwap(since, restOver)
}

// errRested means that the peer has neither used nor closed its stream for a long time. No
// handler sees a call that arrives at this moment.
var errRested = &Error{Reason: ReasonRefused, NotProcessed: true, Detail: "a call stream was idle for Limits.Streams.Idle"}

// restingCalls holds the CALLS streams of an accepted session.
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

// expire closes the streams that have carried no call since the given second.
func (r *restingCalls) expire(second int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.calls {
		if c.rest.expire(second) {
			// The deadline wakes the reader. SetReadDeadline never fails.
			_ = c.stream.SetReadDeadline(time.Now())
		}
	}
}
