package discovery

import (
	"errors"
	"strconv"
)

var (
	// ErrInvalidInstance means that an Instance breaks a rule of Instance.Validate, or that an
	// Update tried to change an immutable field. The error is a *FieldError.
	ErrInvalidInstance = errors.New("discovery: invalid instance")

	// ErrInvalidQuery means that a Query breaks a rule of Query.Validate. The error is a *FieldError.
	ErrInvalidQuery = errors.New("discovery: invalid query")

	// ErrDuplicateID means that another live instance is announced under the same ID. IDs are
	// unique per process start (see NewInstanceID), so retrying with a new ID is safe.
	ErrDuplicateID = errors.New("discovery: instance ID is already registered")

	// ErrLimit means that a limit of the registry was reached; the message names it.
	ErrLimit = errors.New("discovery: limit reached")

	// ErrUnavailable means that the registry cannot be reached or has failed. Waiting may help.
	ErrUnavailable = errors.New("discovery: registry is unavailable")

	// ErrClosed means that the Registry or the Registration is closed.
	ErrClosed = errors.New("discovery: closed")

	// ErrInvalidConfig means that the configuration of a back end is not valid. The message begins with
	// the name of the back end, names the field, variable or part of the text that is wrong, and says
	// what would be right.
	ErrInvalidConfig = errors.New("discovery: invalid config")
)

// maxQuoted is the number of bytes of a wrong value that an error message repeats at most.
const maxQuoted = 96

// FieldError names the field and the value that made an Instance or a Query invalid.
type FieldError struct {
	// Kind is ErrInvalidInstance or ErrInvalidQuery. Unwrap returns it.
	Kind error

	// Field is written as in Go: "Addr", "Tags[3]", `Meta["zone"]`.
	Field string

	// Value is the whole value as given. The message shortens it.
	Value string

	// Reason says what is wrong, and what would be right.
	Reason string
}

// Error implements error.
func (e *FieldError) Error() string {
	return e.Kind.Error() + ": " + e.Field + " " + quote(e.Value) + ": " + e.Reason
}

// Unwrap returns Kind.
func (e *FieldError) Unwrap() error { return e.Kind }

// quote escapes and shortens an untrusted value for a log line.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
