package topology

import "time"

// Service is what a document says about calls to one service. The zero value means every instance.
type Service struct {
	// Subsets names groups of instances. Names are 1 to MaxName of [a-z0-9-] that begin with a
	// letter or digit, and not "any". At most MaxSubsets.
	Subsets map[string]Subset

	// Routes are the rules for calls; the first that matches holds. The last should match
	// everything. At most MaxRoutes.
	Routes []Route

	// Failover is where a call may go when there is nobody in the level before; see the package
	// comment for its words. Empty means nowhere else. At most MaxFailover.
	Failover []string

	Timeout time.Duration // 0: that of Defaults
	Retry   Retry         // fields that are 0: those of Defaults
	LB      LoadBalancing
	Outlier *Outlier // nil: the defaults
	Mirror  *Mirror  // nil: no call is copied
	Fault   *Fault   // nil: no call is broken on purpose
}

// Route is one rule: which calls it is for, and where they go. The zero value sends every call to
// every instance.
type Route struct {
	Match Match

	// To is where calls go. Empty means {"any": 100}. At most MaxTargets.
	To Split

	// Sticky is where the key is found that decides a split: "meta:<key>" for a pair of the call's
	// metadata. A key of the call itself goes before it. "" means chance.
	Sticky string

	Timeout time.Duration // 0: that of the service
	Retry   Retry         // fields that are 0: those of the service

	// Failover replaces that of the service. Nil means the service's; empty but not nil means none.
	Failover []string
}

// Split gives each target its share of the calls. Shares are 0 to 100 and add up to 100.
// A target is the name of a subset, "service:<name>" or "any".
type Split map[string]int

// Match selects calls; all that is set must hold. The zero value selects every call.
type Match struct {
	// Method, Topic and Stage are the name of a route of that kind, alone ("get") or after that of its
	// service ("orders/get"), or with one "*" at its end the beginning of such names. A name that has a "/"
	// itself is written after its service, so that a service that is misspelled shows. At most one of the three.
	Method, Topic, Stage string

	// Caller lists services: the call comes from one of them. At most MaxTargets.
	Caller []string

	// Meta are pairs that the call's metadata must hold. At most MaxPairs.
	Meta map[string]string
}

// The words of targets and failover lists.
const (
	wordAny       = "any"
	wordZone      = "zone"
	wordRegion    = "region"
	wordDC        = "dc"
	prefixService = "service:"
	prefixSubset  = "subset:"
	prefixMeta    = "meta:"
)
