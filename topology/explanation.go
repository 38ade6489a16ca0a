package topology

import "time"

// Explanation says what a policy does with one call, and why. Its String is for people to read.
type Explanation struct {
	Service string

	// Kind is the kind of the route, such as "method", and Name its name within the service. An empty
	// Name means any call to the service.
	Kind, Name string

	// Caller names the calling service and where the caller is. An empty field is not known.
	Caller struct{ Service, Zone, Region, Datacenter string }

	// Written reports whether a document has an entry for the service.
	Written bool

	// Asked reports whether the policy chose where the call goes. It did not if the call names its instance
	// (link.OnInstance): then Target is that instance, Fixed says so, Shares, Sticky and Key are empty, and the
	// only level is every instance. Rule, Timeout, Retry, Mirror and Fault apply nevertheless.
	Asked bool

	// Rule is the index of the route that matched, or -1 if none did.
	Rule int

	// Passed says why the routes before the one that matched did not, such as "is for method orders/export", by
	// the index of the route. It has all routes if none matched.
	Passed []string

	// Shares are the targets of the rule.
	Shares Split

	// Target is the chosen target: a key of Route.To, or the instance that the call names.
	Target string

	// Sticky names the source of the key: "meta:user-id", "the call's key". It is empty if the rule uses no key.
	Sticky string

	// Key is the key that decided. It is empty after a random choice, and if there was only one target.
	Key string

	// Fixed says why the policy's own choice was overridden, or that it was not asked. It is empty otherwise.
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

// ExplainedInstance is an instance as the caller knows it, and why it was or was not chosen.
type ExplainedInstance struct {
	Service string

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

	// Level is the first level that holds the instance, counted from 1, or 0 if none does.
	Level int

	// Chosen reports whether the call may go to the instance now.
	Chosen bool
	Reason string
}
