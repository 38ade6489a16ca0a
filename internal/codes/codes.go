// Package codes is the one table of gRPC's status codes: their numbers and words. Which code means what is told by
// package link.
package codes

import (
	"slices"
	"strconv"
	"strings"
)

// The codes.
const (
	OK uint32 = iota
	Canceled
	Unknown
	InvalidArgument
	DeadlineExceeded
	NotFound
	AlreadyExists
	PermissionDenied
	ResourceExhausted
	FailedPrecondition
	Aborted
	OutOfRange
	Unimplemented
	Internal
	Unavailable
	DataLoss
	Unauthenticated

	// Highest is the highest code.
	Highest = Unauthenticated
)

// words are indexed by number.
var words = [Highest + 1]string{ //nolint:gochecknoglobals // a constant
	"ok", "canceled", "unknown", "invalid argument", "deadline exceeded", "not found", "already exists",
	"permission denied", "resource exhausted", "failed precondition", "aborted", "out of range", "unimplemented",
	"internal", "unavailable", "data loss", "unauthenticated",
}

// Words returns a code in words, such as "not found", or "code 17" if it has none.
func Words(code uint32) string {
	if code <= Highest {
		return words[code]
	}
	return "code " + strconv.FormatUint(uint64(code), 10)
}

// Upper returns a code as gRPC and OpenTelemetry write it, such as "NOT_FOUND", or its number if it has no name.
func Upper(code uint32) string {
	switch {
	case code == 1:
		return "CANCELLED" //nolint:misspell // gRPC's spelling
	case code <= Highest:
		return strings.ToUpper(strings.ReplaceAll(words[code], " ", "_"))
	default:
		return strconv.FormatUint(uint64(code), 10)
	}
}

// Number returns the number of a code that is written as in gRPC's service configuration, in lower case, such as
// "not_found". It reports false for a name that is not a code, and for "ok", which is not an error.
func Number(name string) (code uint32, ok bool) {
	i := slices.IndexFunc(words[1:], func(w string) bool { return strings.ReplaceAll(w, " ", "_") == name })
	return uint32(i + 1), i >= 0
}

// Names returns the names that [Number] knows, in the order of their numbers.
func Names() []string {
	names := make([]string, 0, Highest)
	for _, w := range words[1:] {
		names = append(names, strings.ReplaceAll(w, " ", "_"))
	}
	return names
}
