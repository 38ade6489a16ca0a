package topology

import "time"

// Service is the policy for calls to one service. The zero value sends them to every instance.
type Service struct {
	// Subsets names groups of instances. Names are 1 to 255 of [a-z0-9-] that begin with a
	// letter or digit, and not "any". At most 64.
	Subsets map[string]Subset

	// Routes are the rules for calls; the first that matches applies. The last should match
	// everything. At most 256.
	Routes []Route

	// Failover lists where a call may go when the level before has no available instance; see
	// the package comment for its words. Empty means nowhere else. At most 16.
	Failover []string

	// Timeout overrides the timeout of Defaults. Zero means the default.
	Timeout time.Duration

	// Retry overrides the retry settings of Defaults. A zero field means the default.
	Retry Retry

	LB LoadBalancing

	// Outlier may be nil, for the defaults.
	Outlier *Outlier

	// Mirror may be nil: no call is copied.
	Mirror *Mirror

	// Fault may be nil: no call is broken on purpose.
	Fault *Fault
}

// Route is one rule: which calls it is for, and where they go. The zero value sends every call to
// every instance.
type Route struct {
	Match Match

	// To is where calls go. Empty means {"any": 100}. At most 16.
	To Split

	// Sticky names the source of the key that decides a split: "meta:<key>" for a pair of the call's
	// metadata. The key of link.Sticky takes precedence over it. Without a key, a random choice decides.
	Sticky string

	// Timeout overrides the timeout of the service. Zero means the service's.
	Timeout time.Duration

	// Retry overrides the retry settings of the service. A zero field means the service's.
	Retry Retry

	// Failover overrides the failover list of the service. Nil means the service's; empty but
	// not nil means none.
	Failover []string
}

// Split gives each target its share of the calls. Shares are 0 to 100 and add up to 100.
// A target is the name of a subset, "service:<name>" or "any".
type Split map[string]int

// Match selects calls; all fields that are set must match. The zero value selects every call.
type Match struct {
	// Method, Topic and Stage are the name of a route of that kind: "get" or, with its service,
	// "orders/get". A "*" at the end matches every name with the prefix before it. A name that contains
	// a "/" must be written with its service, so that a misspelled service is detected. At most one of
	// the three may be set.
	Method, Topic, Stage string

	// Caller lists services; the call must come from one of them. At most 16.
	Caller []string

	// Meta are pairs that the call's metadata must hold. At most 64.
	Meta map[string]string
}
