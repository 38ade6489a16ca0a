package discovery

import (
	"errors"
	"strconv"
)

var (
	// ErrInvalidInstance says that an Instance breaks a rule of Instance.Validate, or that an
	// Update tried to change what must stay. The error is a *FieldError.
	ErrInvalidInstance = errors.New("discovery: invalid instance")

	// ErrInvalidQuery says that a Query breaks a rule of Query.Validate. The error is a *FieldError.
	ErrInvalidQuery = errors.New("discovery: invalid query")

	// ErrDuplicateID says that another live instance is announced under the same ID. IDs are
	// unique per process start (see NewInstanceID), so retrying with a new ID is safe.
	ErrDuplicateID = errors.New("discovery: instance ID is already registered")

	// ErrLimit says that a bound of the registry was reached; the message names it.
	ErrLimit = errors.New("discovery: limit reached")

	// ErrUnavailable says that the registry cannot be reached or is ill: waiting may help.
	ErrUnavailable = errors.New("discovery: registry is unavailable")

	// ErrClosed says that the Registry or the Registration is closed.
	ErrClosed = errors.New("discovery: closed")
)

// maxQuoted bounds how much of a wrong value an error message repeats, in bytes.
const maxQuoted = 96

// FieldError names the field and the value that made an Instance or a Query invalid.
type FieldError struct {
	Kind   error  // ErrInvalidInstance or ErrInvalidQuery; what Unwrap returns
	Field  string // as in Go: "Addr", "Tags[3]", `Meta["zone"]`
	Value  string // as given; the message shortens it
	Reason string // what is wrong, and what would be right
}

// Error implements error.
func (e *FieldError) Error() string {
	return e.Kind.Error() + ": " + e.Field + " " + quote(e.Value) + ": " + e.Reason
}

// Unwrap returns Kind.
func (e *FieldError) Unwrap() error { return e.Kind }

// quote makes a foreign value safe and short enough for a log line.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "…"
	}
	return strconv.QuoteToASCII(s)
}
