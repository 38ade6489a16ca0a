package journal

import (
	"errors"
	"fmt"
)

// ErrClosed is returned by the methods of a cursor after its Close, or after another cursor
// has resumed its session. Fill also returns it for a detached cursor.
var ErrClosed = errors.New("journal: the subscription is closed")

// ErrSealed is returned by Append after [Log.Seal].
var ErrSealed = errors.New("journal: the publisher ends, and takes nothing more")

// ErrNoSession is returned by [Log.Resume] for a session that never existed or has ended.
var ErrNoSession = errors.New("journal: there is no such session, or it was disconnected for too long; subscribe anew")

// ErrHeld is returned by [Log.Resume] for a session that another, connected holder has.
var ErrHeld = errors.New("journal: somebody else has this session, and is connected")

// TooFarBehindError ends a Reliable subscription whose next message has left the ring.
type TooFarBehindError struct {
	// Resume is how far the subscription has come.
	Resume Position
	// First is the oldest number in the ring.
	First uint64
}

func (e *TooFarBehindError) Error() string {
	return fmt.Sprintf("journal: the subscriber is too far behind: it has come to %d, and the ring starts at %d; "+
		"resume at the position to be told of the gap, and read faster or keep more", e.Resume.Least(), e.First)
}

// NotSentError is the error for an ack, nack, release or extension of a message that was
// not sent.
type NotSentError struct {
	Seq uint64
	// Last is the highest number that was sent.
	Last uint64
}

func (e *NotSentError) Error() string {
	return fmt.Sprintf("journal: message %d was not sent on this subscription, the last one was %d", e.Seq, e.Last)
}
