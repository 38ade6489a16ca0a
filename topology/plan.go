package topology

import "time"

// NoRule is the Plan.Rule of calls that no route of a document matches.
const NoRule = -1

// Plan is what a policy says about some calls: one rule and one of its targets. It is immutable;
// its fields are to be read only. The same plan is returned for every such call.
type Plan struct {
	Service string        // the service called
	Rule    int           // index of the route, or NoRule
	Target  string        // as in Route.To: "stable", "any", "service:orders-new"
	Share   int           // percent of the calls that match the rule
	Levels  []Level       // where to look for an instance, in order; never empty
	Timeout time.Duration // 0: the policy does not say
	Retry   Retry         // zero fields: the policy does not say
	LB      LoadBalancing // defaults filled in
	Outlier Outlier       // defaults filled in
	Mirror  *Mirror       // as written, nil if there is none; see Mirrored
	Fault   *Fault        // as written, nil if there is none; see Faulted

	others    []*Plan // plans of the rule's other targets that have a share, the greatest first
	mirror    *mirror
	hashKey   string // the key of the metadata that LB.Key names
	faultSalt uint64
}

// KeyOf returns the key by which an instance is to be chosen, as a hash that is the same in every
// process: that of Request.Key if it is set, else of what LB.Key names if the policy is Hash. It
// reports false if there is none. It allocates nothing.
func (p *Plan) KeyOf(r *Request) (key uint64, ok bool) {
	if r.Key != "" {
		return hash(r.Key), true
	}
	if p.LB.Policy == Hash && p.hashKey != "" && r.Meta != nil {
		if value, _ := r.Meta.Get(p.hashKey); value != "" {
			return hash(value), true
		}
	}
	return 0, false
}

// Others returns the plans of the other targets of the same rule, the greatest share first: where
// a call could have gone. The result must not be modified.
func (p *Plan) Others() []*Plan { return p.others }

// Mirrored returns the plan for a copy of the call, or nil if it is not to be copied: from a document of
// a layer that is not trusted only calls of read-only methods are. The copy gets
// one attempt; where the plan leads to another service, that service's plan for the request says
// which instances, but its Mirror and Fault are to be ignored. It allocates nothing.
func (p *Plan) Mirrored(r *Request) *Plan {
	m := p.mirror
	if m == nil || m.readOnly && !r.ReadOnly || !drawn(r.Random^m.salt, m.written.Percent) {
		return nil
	}
	return m.split.byChance(r.Random)
}

// Faulted reports whether the call is to be broken as Fault says. It allocates nothing.
func (p *Plan) Faulted(r *Request) bool {
	return p.Fault != nil && drawn(r.Random^p.faultSalt, p.Fault.Percent)
}

// mirror is a compiled Mirror.
type mirror struct {
	written  Mirror
	readOnly bool // copies only calls of read-only methods
	split    split
	salt     uint64
}
