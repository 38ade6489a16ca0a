package policy

import (
	"time"

	"github.com/linkmesh/link/topology"
)

// NoRule is the Plan.Rule of calls that no route of a document matches.
const NoRule = -1

// Plan is the policy for the calls of one rule that go to one of its targets. It is immutable and its
// fields must not be modified. The same plan is returned for every such call.
type Plan struct {
	// Service is the name of the called service.
	Service string

	// Rule is the index of the route, or NoRule.
	Rule int

	// Target is a key of Route.To: "stable", "any", "service:orders-new".
	Target string

	// Share is the percentage of the calls matching the rule that go to Target.
	Share int

	// Levels are where to look for an instance, in order. It is never empty.
	Levels []Level

	// Timeout is zero, and a field of Retry is zero, if the policy does not set it.
	Timeout time.Duration
	Retry   topology.Retry

	// LB and Outlier have the defaults filled in.
	LB      topology.LoadBalancing
	Outlier topology.Outlier

	// Mirror is as written, or nil; see Mirrored.
	Mirror *topology.Mirror

	// Fault is as written, or nil; see Faulted.
	Fault *topology.Fault

	// others are the plans of the rule's other targets with a share above zero, greatest share first.
	others []*Plan
	mirror *mirror

	// hashKey is the metadata key that LB.Key names.
	hashKey   string
	faultSalt uint64
}

// KeyOf returns the key by which an instance is to be chosen, as a hash that is the same in every
// process: the hash of Request.Key if it is set, or else, if the policy is Hash, of the metadata that
// LB.Key names. It reports false if there is no key. It allocates nothing.
func (p *Plan) KeyOf(r *Request) (key uint64, ok bool) {
	if r.Key != "" {
		return hashOf(r.Key), true
	}
	if p.LB.Policy == topology.Hash && p.hashKey != "" && r.Meta != nil {
		if value, _ := r.Meta.Get(p.hashKey); value != "" {
			return hashOf(value), true
		}
	}
	return 0, false
}

// Others returns the plans of the other targets of the same rule that have a share, greatest first.
// The result must not be modified.
func (p *Plan) Others() []*Plan { return p.others }

// Mirrored returns the plan for a copy of the call, or nil if it is not to be copied. A mirror from an
// untrusted layer copies only calls of read-only methods. The copy gets one attempt. If the plan leads
// to another service, that service's plan for the request selects the instances, but its Mirror and
// Fault are to be ignored. Mirrored allocates nothing.
func (p *Plan) Mirrored(r *Request) *Plan {
	m := p.mirror
	if m == nil || m.readOnly && !r.ReadOnly || !drawn(r.Random^m.salt, m.written.Percent) {
		return nil
	}
	return m.split.byChance(r.Random)
}

// Faulted reports whether Fault is to be applied to the call. It allocates nothing.
func (p *Plan) Faulted(r *Request) bool {
	return p.Fault != nil && drawn(r.Random^p.faultSalt, p.Fault.Percent)
}

// mirror is a compiled Mirror.
type mirror struct {
	written topology.Mirror

	// readOnly restricts the mirror to calls of read-only methods.
	readOnly bool
	split    split
	salt     uint64
}
