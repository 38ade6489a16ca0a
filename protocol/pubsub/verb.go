package pubsub

import (
	"time"

	"github.com/linkmesh/link/protocol/internal/verb"
)

// maxRetry bounds the delay of [Retry].
const maxRetry = 24 * time.Hour

// Retry is what a handler returns for a message that failed and is to be delivered again
// after delay, at most 24 h. The attempt counts, as it does after any other error; after
// other errors the delay is the next of 1 s, 5 s, 30 s and 2 min. Retry is for the class
// [AtLeastOnce]; in other classes it is logged like any error.
func Retry(delay time.Duration, cause error) error { return verb.NewRetry(delay, cause) }

// Release is what a handler returns for a message that it has not begun and cannot handle
// here. The message is delivered again at once, in a group to another member if one has
// room. A release does not count as an attempt. The reason appears in the handler's span
// and is not sent to the publisher. Release is for the class [AtLeastOnce]; in other
// classes it is logged like any error.
func Release(reason string) error { return verb.NewRelease(reason) }

// failure is what becomes of a message that was not handled.
type failure struct {
	release bool
	// delay is the pause before the next delivery. Negative means the subscription's backoff.
	delay time.Duration
	cause string
}

// failureOf returns what the error of a handler stands for; nil is a failure without a
// cause. It calls methods of the error, which may panic.
func failureOf(err error) failure {
	if err == nil {
		return failure{delay: -1}
	}
	e := verb.Of(err)
	f := failure{release: e.Kind == verb.Release, delay: min(e.Delay, maxRetry), cause: e.Cause.Error()}
	if e.Kind == verb.Reject {
		// Only pipelines have this verb. Here it is an error like any other.
		f.delay = -1
	}
	return f
}
