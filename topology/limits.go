package topology

import "time"

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

// Defaults of settings. The defaults for ejection and panic are Envoy's (outlier_detection.proto and
// cluster.proto; Envoy ejects at most 10 % and panics below 50 %).
const (
	DefaultPanic     Percent = 50
	DefaultSlowStart         = 30 * time.Second
	DefaultSubset            = 20
	DefaultErrors            = 5
	DefaultInterval          = 10 * time.Second
	DefaultEject             = 30 * time.Second
	DefaultMaxEject  Percent = 10
)

// Overprovision is the load, as a multiple of its share, that the available part of a zone can carry:
// a level of one zone, region or datacenter takes all calls as long as 1/1.4 of its instances are
// available. The factor is Envoy's (overprovisioning_factor, 140 %).
const Overprovision = 1.4
