package topology

import "time"

// Explanation says what a policy does with one call, and why. Its String is for people to read.
type Explanation struct {
	Service string

	// Kind is the kind of the route, such as "method", and Name its name within the service. An empty
	// Name means any call to the service.
	Kind, Name string

	// Caller is the name of the calling service.
	Caller string

	// Zone, Region and Datacenter are where the caller is. An empty one is not known.
	Zone, Region, Datacenter string

	// Written reports whether a document has an entry for the service.
	Written bool

	// Asked reports whether the policy decided. It did not if the call names its instance; Fixed says so then.
	Asked bool

	// Rule is the index of the route that matched, or -1 if none did.
	Rule int

	// Passed are the routes that were tried before and did not match.
	Passed []Passed

	// Shares are the targets of the rule, greatest share first.
	Shares []Share

	// Target is the chosen target: a key of Route.To, or the instance that the call names.
	Target string

	// Sticky names the source of the key: "meta:user-id", "the call's key". It is empty if the rule uses no key.
	Sticky string

	// Key is the key that decided. It is empty after a random choice, and if there was only one target.
	Key string

	// Fixed says why the policy's own choice was overridden. It is empty if it was not.
	Fixed string

	// Timeout is that of the policy, else that of the method, for a call whose context has no deadline; zero
	// if neither sets one. A field of Retry is zero if the policy does not set it.
	Timeout time.Duration
	Retry   Retry

	// Mirror and Fault are as written. They are nil if calls are not copied, or not broken on purpose.
	Mirror *Mirror
	Fault  *Fault

	// Levels are in order. A level of another service is replaced by the levels of that service's plan.
	Levels []ExplainedLevel

	// Instances are those of Service and of all services in Levels, by service, level and ID.
	Instances []ExplainedInstance
}

// Passed is a route that did not match. Why is a text such as "is for method orders/export".
type Passed struct {
	Rule int
	Why  string
}

// Share is a target and its share of the calls in percent.
type Share struct {
	Target string
	Share  int
}

// ExplainedLevel is a set of instances to try, their number, and the level's share of the calls.
type ExplainedLevel struct {
	// Service is the service whose instances these are.
	Service string

	// Subset is the name of their subset. Empty means every instance.
	Subset string

	// Scope is "zone", "region" or "dc" if the level has only instances in the caller's own, or else "any".
	Scope string

	// Via names the rule of another service that leads to the level: "by routes[0] of orders-new". It is
	// empty if there is no such rule.
	Via string

	// LB and Outlier are how an instance of the level is chosen and when it is ejected.
	LB      LoadBalancing
	Outlier Outlier

	// How says how an instance is chosen for this call: "p2c", "by the hash of its key".
	How string

	Available, Total int

	// Takes is the share of the calls that the level gets now, 0 to 1.
	Takes float64
}

// Candidate is an instance of a service as the caller knows it.
type Candidate struct {
	ID, Addr string

	// Tags are in any order.
	Tags []string

	// TagsUnknown reports that the instance has not told its tags yet. It counts as a member of
	// every subset and locality.
	TagsUnknown bool

	Meta                     map[string]string
	Zone, Region, Datacenter string

	// Weight is printed unless all instances have the same.
	Weight int

	// Trouble says why the instance is not available: "draining". Empty means available.
	Trouble string

	// Note is what else is known: "connected, 3 in flight, 1.2ms".
	Note string
}

// ExplainedInstance is an instance and why it was or was not chosen.
type ExplainedInstance struct {
	Candidate

	Service string

	// Level is the first level that holds the instance, counted from 1, or 0 if none does.
	Level int

	// Chosen reports whether the call may go to the instance now.
	Chosen bool
	Reason string
}
