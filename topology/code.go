package topology

import "github.com/linkmesh/link/internal/codes"

// CodeNumber returns the number of the code with a name such as "unavailable". Names and numbers are
// gRPC's, the names in lower case. It reports false for a name that is not a code.
func CodeNumber(name string) (uint32, bool) { return codes.Number(name) }
