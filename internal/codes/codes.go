// Package codes is the one table of gRPC's status codes: their numbers and words. Which code means what is told by
// package link.
package codes

import "strconv"

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

// table is indexed by number. It has the three ways in which a code is written, so that none has to be made of another.
var table = [Highest + 1]struct{ words, lower, upper string }{ //nolint:gochecknoglobals // a constant
	{"ok", "ok", "OK"},
	{"canceled", "canceled", "CANCELLED"}, //nolint:misspell // gRPC's spelling
	{"unknown", "unknown", "UNKNOWN"},
	{"invalid argument", "invalid_argument", "INVALID_ARGUMENT"},
	{"deadline exceeded", "deadline_exceeded", "DEADLINE_EXCEEDED"},
	{"not found", "not_found", "NOT_FOUND"},
	{"already exists", "already_exists", "ALREADY_EXISTS"},
	{"permission denied", "permission_denied", "PERMISSION_DENIED"},
	{"resource exhausted", "resource_exhausted", "RESOURCE_EXHAUSTED"},
	{"failed precondition", "failed_precondition", "FAILED_PRECONDITION"},
	{"aborted", "aborted", "ABORTED"},
	{"out of range", "out_of_range", "OUT_OF_RANGE"},
	{"unimplemented", "unimplemented", "UNIMPLEMENTED"},
	{"internal", "internal", "INTERNAL"},
	{"unavailable", "unavailable", "UNAVAILABLE"},
	{"data loss", "data_loss", "DATA_LOSS"},
	{"unauthenticated", "unauthenticated", "UNAUTHENTICATED"},
}

// Words returns a code in words, such as "not found", or "code 17" if it has none.
func Words(code uint32) string {
	if code <= Highest {
		return table[code].words
	}
	return "code " + strconv.FormatUint(uint64(code), 10)
}

// Upper returns a code as gRPC and OpenTelemetry write it, such as "NOT_FOUND", or its number if it has no name.
func Upper(code uint32) string {
	if code <= Highest {
		return table[code].upper
	}
	return strconv.FormatUint(uint64(code), 10)
}

// Number returns the number of a code that is written as in gRPC's service configuration, in lower case, such as
// "not_found". It reports false for a name that is not a code, and for "ok", which is not an error.
func Number(name string) (code uint32, ok bool) {
	for code := uint32(1); code <= Highest; code++ {
		if table[code].lower == name {
			return code, true
		}
	}
	return 0, false
}

// Names returns the names that [Number] knows, in the order of their numbers.
func Names() []string {
	names := make([]string, 0, Highest)
	for _, row := range table[1:] {
		names = append(names, row.lower)
	}
	return names
}
