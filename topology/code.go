package topology

import "slices"

// codeNames lists the names of the codes; the number of a code is its index plus one.
func codeNames() []string {
	return []string{
		"canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists", "permission_denied",
		"resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented", "internal", "unavailable",
		"data_loss", "unauthenticated",
	}
}

// CodeNumber returns the number of the code with a name such as "unavailable". Names and numbers are
// gRPC's, the names in lower case. It reports false for a name that is not a code.
func CodeNumber(name string) (uint32, bool) {
	i := slices.Index(codeNames(), name)
	return uint32(i + 1), i >= 0
}
