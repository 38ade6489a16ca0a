package pipeline

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/verb"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// Retry is what a handler returns for a task that failed and is to be tried again after
// delay. A delay of more than 24 h counts as 24 h, and a negative one as none. The attempt
// counts, as it does after any other error; after other errors the producer's backoff sets
// the delay.
func Retry(delay time.Duration, cause error) error { return verb.NewRetry(delay, cause) }

// Release is what a handler returns for a task that it has not begun and cannot do here. The
// task goes to another worker, if there is one. A release does not count as an attempt, but
// a task that is released a hundred times becomes a dead letter.
func Release(reason string) error { return verb.NewRelease(reason) }

// Reject is what a handler returns for a task that can never be done. The task becomes a
// dead letter at once.
func Reject(cause error) error { return verb.NewReject(cause) }

// errNoCause is the cause of a Nack without one.
var errNoCause = errors.New("no cause was given")

// outcomeOf returns the outcome of a task whose handler returned an error, or nil and a result. The
// result is encoded, and nil if the stage has none.
func outcomeOf(result []byte, err error) frame.Outcome {
	switch {
	case err == nil && result == nil:
		return frame.Outcome{Verb: frame.Ack}
	case err == nil:
		return frame.Outcome{Verb: frame.Result, Data: result}
	}
	v := verb.Of(err)
	o := frame.Outcome{Data: clip(v.Cause.Error())}
	switch v.Kind {
	case verb.Retry:
		o.Verb, o.Delay = frame.Retry, v.Delay
	case verb.Release:
		o.Verb = frame.Release
	case verb.Reject:
		o.Verb = frame.Reject
	}
	return o
}

// clip cuts a text to at most frame.MaxCause bytes.
func clip(s string) []byte { return []byte(s[:min(len(s), frame.MaxCause)]) }

// panicked logs the panic of a handler with its stack, and returns the error for the producer,
// which is not told the stack.
func (w *Worker) panicked(v any) error {
	link.HostOf(w.node).Logger().Error("pipeline: a handler panicked", "stage", w.route.String(), "panic", v, "stack", string(debug.Stack()))
	return fmt.Errorf("the handler panicked: %v", v)
}
