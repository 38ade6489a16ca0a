// Package limits has the bounds of topology documents and the defaults of their settings. It stands apart so that
// package topology, which checks documents and tells users the numbers, and package policy, which puts documents in
// force, have one place for them.
package limits

import (
	"fmt"
	"time"
)

// Bounds of a document. They limit the effect of a mistake, and the memory and search time of a policy.
const (
	MaxDocument   = 1 << 20 // bytes of a document in YAML
	MaxServices   = 4096    // services with an entry, also after layers are merged
	MaxSubsets    = 64      // subsets of a service
	MaxRoutes     = 256     // routes of a service
	MaxTargets    = 16      // targets of a split, callers of a match
	MaxFailover   = 16      // entries of a failover list
	MaxPairs      = 64      // tags, and pairs of meta data, of a subset or match
	MaxName       = 255     // bytes of a name, tag, key of meta data
	MaxValue      = 512     // bytes of a value of meta data, as in package discovery
	MaxAttempts   = 5       // attempts of a call
	MaxDepth      = 8       // services in a chain of targets and failovers
	MaxLevels     = 64      // levels of a call, including the levels of other services
	MaxSubsetting = 10_000  // instances of lb.subset

	// MaxDuration bounds every timeout, delay and interval. A longer one is taken for a mistake.
	MaxDuration = 24 * time.Hour

	// MaxNesting bounds how deep a document is nested; a correct one has 7 levels.
	MaxNesting = 16

	// MaxProblems is how many problems of a document are reported one by one.
	MaxProblems = 20
)

// Defaults of settings, those of shares in percent. The defaults for ejection and panic are Envoy's
// (outlier_detection.proto and cluster.proto; Envoy ejects at most 10 % and panics below 50 %).
const (
	DefaultPanic     = 50
	DefaultSlowStart = 30 * time.Second
	DefaultSubset    = 20
	DefaultErrors    = 5
	DefaultInterval  = 10 * time.Second
	DefaultEject     = 30 * time.Second
	DefaultMaxEject  = 10
)

// MoreError is how many problems there are beyond MaxProblems.
type MoreError int

// Error returns "and 3 more problems".
func (n MoreError) Error() string { return fmt.Sprintf("and %d more problems", int(n)) }
