package carrier

import (
	"errors"
	"fmt"

	"github.com/linkmesh/link/internal/wire"
)

var (
	// ErrWouldBlock means that nothing was written, because not all of it can be sent now.
	ErrWouldBlock = errors.New("the peer has no room for it now")
	// ErrNoStream means that the peer allows no further stream now, or that others wait for one.
	ErrNoStream = errors.New("the peer allows no further stream now")
	// ErrFinished means that this side has finished the stream.
	ErrFinished = errors.New("the stream is finished on this side")
)

// ResetError is the error of one direction of a stream that was reset.
type ResetError struct {
	// Code is the code of the side that reset it.
	Code wire.Code
	// Remote means that the peer reset it: it stopped to send or, if the error is that of a write, to read.
	Remote bool
}

// Error implements error.
func (e *ResetError) Error() string {
	if e.Remote {
		return "the peer reset the stream: " + e.Code.String()
	}
	return "the stream was reset on this side: " + e.Code.String()
}

// End is a closed set of ways in which a connection ends.
type End uint8

// The ways in which a connection ends. The last three occur only in handshakes, or right after one.
const (
	// EndFailed is every end that is none of the others.
	EndFailed End = iota
	// EndClosed means that a side closed it with a code and a reason.
	EndClosed
	// EndForgotten means that whoever is at the address of the peer does not know the connection (a stateless reset).
	EndForgotten
	// EndSilent means that nothing was heard of the peer for too long.
	EndSilent
	// EndViolated means that the peer broke the rules of the carrier.
	EndViolated
	// EndInternal means that the carrier gave up on this side, through no fault of an established peer.
	EndInternal
	// EndAlert means that TLS ended it with an alert.
	EndAlert
	// EndBusy means that the peer takes no more handshakes now.
	EndBusy
	// EndStale means that the peer took too long with the handshake: what it gave this side to prove its address has expired.
	EndStale
)

// String returns the way in words.
func (e End) String() string {
	return [...]string{
		"failed", "closed", "forgotten by the peer", "silent", "ended for a violation of the protocol", "given up", "ended by TLS", "refused", "out of date",
	}[e]
}

// EndError says how a connection ended. It is the error of all that fails because of that.
type EndError struct {
	End End
	// Remote means that the peer ended the connection.
	Remote bool
	// Code and Reason are those of the side that closed the connection, if End is EndClosed. A reason of the peer is
	// whatever it has sent.
	Code   wire.Code
	Reason string
	// Alert is the number of the alert, if End is EndAlert.
	Alert uint8
	// Verdict is the error with which this side's verification of the peer ended the handshake, or nil.
	Verdict error
	// Err is what the implementation says. It may be nil.
	Err error
}

// Error implements error.
func (e *EndError) Error() string {
	switch {
	case e.Err != nil:
		return e.Err.Error()
	case e.End != EndClosed:
		return "the connection is " + e.End.String()
	case e.Remote:
		return fmt.Sprintf("the peer closed the connection: %v: %s", e.Code, e.Reason)
	}
	return fmt.Sprintf("the connection was closed on this side: %v: %s", e.Code, e.Reason)
}

// Unwrap returns what the implementation says.
func (e *EndError) Unwrap() error { return e.Err }

// HasEnded reports whether err is due to the end of a connection.
func HasEnded(err error) bool {
	_, ended := errors.AsType[*EndError](err)
	return ended
}
