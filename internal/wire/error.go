package wire

import (
	"errors"
	"fmt"
)

// ErrShort means that the input ends inside a value. The reader of a stream
// needs more bytes; in a body, which is complete, it is an error.
var ErrShort = errors.New("wire: input ends inside a value")

// SyntaxError says which value could not be parsed and why.
type SyntaxError struct {
	// What is the frame or field, such as "HEADERS.metadata".
	What string
	// Reason is what is wrong with it, such as "keys out of order".
	Reason string
}

// Error implements error.
func (e *SyntaxError) Error() string { return "wire: malformed " + e.What + ": " + e.Reason }

// LimitError says which limit a value exceeds.
type LimitError struct {
	// What is the value that is too large, such as "HEADERS body".
	What  string
	Limit uint64
	Got   uint64
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("wire: %s of %d exceeds the limit of %d", e.What, e.Got, e.Limit)
}

// Code is an error code of streams (RESET_STREAM, STOP_SENDING) and of
// connections (CONNECTION_CLOSE). An unknown code means [CodeInternal].
type Code uint64

// The error codes of link/1.
const (
	CodeNone            Code = 0x00 // no error
	CodeInternal        Code = 0x01 // the sender failed
	CodeProtocol        Code = 0x02 // malformed bytes or a violated order of frames
	CodeCanceled        Code = 0x03 // the caller is gone
	CodeRefused         Code = 0x04 // no handler saw the call: always safe to send elsewhere
	CodeDeadline        Code = 0x05 // out of time
	CodeOverloaded      Code = 0x06 // shed before the handler
	CodeGoingAway       Code = 0x07 // the node drains; otherwise like CodeRefused
	CodeTooFarBehind    Code = 0x08 // reserved: a subscriber was dropped by policy
	CodeDeliveryTimeout Code = 0x09 // reserved: an object or lane expired
	CodeUnauthenticated Code = 0x0a // reserved: a token expired
	CodeIgnored         Code = 0x0b // an optional stream type that the receiver does not know
	CodeLimit           Code = 0x0c // a size or credit was exceeded
	CodeIncompatible    Code = 0x0d // connection: no common version; the reason names the versions
	CodeIdle            Code = 0x0e // connection: unused, closed to free resources
)

// String returns the name of the code in docs/wire.md.
func (c Code) String() string {
	names := [...]string{
		"NO_ERROR", "INTERNAL", "PROTOCOL", "CANCELED", "REFUSED", "DEADLINE", "OVERLOADED", "GOING_AWAY",
		"TOO_FAR_BEHIND", "DELIVERY_TIMEOUT", "UNAUTHENTICATED", "IGNORED", "LIMIT", "INCOMPATIBLE", "IDLE",
	}
	if c < Code(len(names)) {
		return names[c]
	}
	return fmt.Sprintf("CODE_%#x", uint64(c))
}

// NotProcessed reports whether the code means that no handler saw the call.
func (c Code) NotProcessed() bool {
	return c == CodeRefused || c == CodeGoingAway || c == CodeOverloaded
}
