// Package verb holds the errors with which a handler says what becomes of a message or a task that it did not handle.
package verb

import (
	"errors"
	"time"
)

// Kind is what becomes of a message or a task.
type Kind uint8

// The kinds.
const (
	Retry   Kind = iota // it failed and is tried again
	Release             // it was not begun and goes to somebody else
	Reject              // it can never be handled
)

// Error is an error that says what becomes of a message or a task.
type Error struct {
	Kind Kind
	// Delay is how long to wait before the next attempt. Negative means that the sender decides.
	Delay time.Duration
	// Cause is never nil.
	Cause error
}

// Error implements error.
func (e *Error) Error() string {
	switch e.Kind {
	case Retry:
		return "retry: " + e.Cause.Error()
	case Release:
		return "release: " + e.Cause.Error()
	case Reject:
	}
	return "reject: " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// NewRetry returns an error that asks for another attempt after delay. A negative delay counts as zero.
func NewRetry(delay time.Duration, cause error) error {
	return &Error{Retry, max(delay, 0), orUnknown(cause)}
}

// NewRelease returns an error that gives a message or a task back.
func NewRelease(reason string) error { return &Error{Release, 0, errors.New(reason)} }

// NewReject returns an error that asks for no further attempt.
func NewReject(cause error) error { return &Error{Reject, 0, orUnknown(cause)} }

func orUnknown(err error) error {
	if err == nil {
		return errors.New("no cause was given")
	}
	return err
}

// Of returns what an error of a handler, which is not nil, asks for. An error that does not say so is a failure: a retry
// whose delay the sender decides.
func Of(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Retry, -1, err}
}
