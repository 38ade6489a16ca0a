package journal

import (
	"errors"
	"fmt"
)

// ErrClosed is the error of a cursor after its Close, or after its session was
// resumed by another one.
var ErrClosed = errors.New("journal: the subscription is closed")

// ErrSealed is the error of Append after [Log.Seal].
var ErrSealed = errors.New("journal: the publisher ends, and takes nothing more")

// ErrNoSession is the error of [Log.Resume] for a session that is not there, or no longer is.
var ErrNoSession = errors.New("journal: there is no such session, or it was disconnected for too long; subscribe anew")

// ErrHeld is the error of [Log.Resume] for a session that somebody else has.
var ErrHeld = errors.New("journal: somebody else has this session, and is connected")

// TooFarBehindError ends a Reliable subscription: what it needs next has left the ring.
type TooFarBehindError struct {
	Resume Position // what it was delivered and told up to here
	First  uint64   // the oldest number in the ring
}

func (e *TooFarBehindError) Error() string {
	return fmt.Sprintf("journal: the subscriber is too far behind: it has come to %d, and the ring starts at %d; "+
		"resume at the position to be told of the gap, and read faster or keep more", e.Resume.Least(), e.First)
}

// NotSentError is the error for an ack, nack, release or extension of a message that was
// not sent.
type NotSentError struct {
	Seq  uint64
	Last uint64 // the highest number that was sent
}

func (e *NotSentError) Error() string {
	return fmt.Sprintf("journal: message %d was not sent on this subscription, the last one was %d", e.Seq, e.Last)
}
