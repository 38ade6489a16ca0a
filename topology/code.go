package topology

import "slices"

// codeNames lists the codes in words; a code's number is its index plus one.
func codeNames() []string {
	return []string{
		"canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists", "permission_denied",
		"resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented", "internal", "unavailable",
		"data_loss", "unauthenticated",
	}
}

// CodeNumber returns the number of a code that a document names, "unavailable": gRPC's names and
// numbers, in lower case. It reports false for a name that is not a code.
func CodeNumber(name string) (uint32, bool) {
	i := slices.Index(codeNames(), name)
	return uint32(i + 1), i >= 0
}
