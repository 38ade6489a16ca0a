// Package policy puts topology documents in force: it compiles them to a table of plans, and explains its choices.
// Users write documents and read explanations, which are in package topology; this package is for link.
//
// # Overview
//
// [Compile] checks one or more documents, each a [Layer], and makes a [Policy], an immutable table. A call looks up its
// [Plan] in the table: the levels of instances to try, in order, and how to choose among them. The package decides and
// explains, and does no I/O, so that [Explain] gives the same answer as a node. Discovery, load balancing and calls are
// implemented elsewhere. What a document means is told by package topology.
//
// # Usage
//
//	p, err := policy.Compile(policy.Options{}, policy.Layer{Origin: "file topology.yaml", Document: doc, Trusted: true})
//	plan := p.Service("orders").Route(&policy.Request{Kind: "method", Name: "get", Random: rand.Uint64()})
//
// # Guarantees
//
// A Policy never changes. [Plans.Route], [Plan.KeyOf], [Plan.Mirrored] and [Plan.Faulted] allocate nothing.
//
// # Concurrency
//
// Policy, Plans and Plan are immutable and safe for concurrent use. Documents are not kept.
//
// # Errors
//
// Each problem is a [*topology.FieldError]; several are joined. [Policy.Bounded] returns errors of kind [ErrBounded].
package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/linkmesh/link/internal/policy/reach"
	"github.com/linkmesh/link/topology"
)

// Policy is a compiled policy. It is immutable and safe for concurrent use. The nil Policy behaves
// like a policy without documents: every instance, p2c, near zones first.
type Policy struct {
	services map[string]*Plans
	defaults topology.Defaults
	bounded  []error

	// reached holds the services that calls to another service may be sent to.
	reached map[string]bool
}

// Bounded returns the settings of untrusted layers that were forced into bounds, each as a
// *topology.FieldError of kind ErrBounded. It returns at most 20.
func (p *Policy) Bounded() []error {
	if p == nil {
		return nil
	}
	return slices.Clone(p.bounded)
}

// Service returns the plans for calls to a service, never nil. It allocates for a service without
// an entry: keep the result as long as the policy is in use.
func (p *Policy) Service(name string) *Plans {
	if p == nil {
		return newPlans(name, topology.Service{}, topology.Defaults{})
	}
	if s, ok := p.services[name]; ok {
		return s
	}
	return newPlans(name, topology.Service{}, p.defaults)
}

// Reached reports whether calls to another service may be sent to this one, because it is a target, failover
// or mirror of the other.
func (p *Policy) Reached(name string) bool { return p != nil && p.reached[name] }

// Services returns every service that a call to name may reach: name first, then the services behind
// its targets, failovers and mirrors, near ones first. Watch them in advance, so that their instances
// are known when a failover needs them.
func (p *Policy) Services(name string) []string {
	list := []string{name}
	if p == nil {
		return list
	}
	for i := 0; i < len(list); i++ {
		s, ok := p.services[list[i]]
		if !ok {
			continue
		}
		for _, to := range s.reach {
			if !slices.Contains(list, to) {
				list = append(list, to)
			}
		}
	}
	return list
}

// Plans are the plans for calls to one service.
type Plans struct {
	service string

	// rules ends with a rule that matches everything.
	rules  []rule
	mirror *mirror

	// reach lists the other services that calls may be sent to.
	reach []string

	// written reports whether a document has an entry for the service.
	written bool
}

// Only returns the plan if the same one applies to all calls, or nil.
func (s *Plans) Only() *Plan {
	if len(s.rules) == 1 && len(s.rules[0].split.targets) == 1 {
		return s.rules[0].split.targets[0].plan
	}
	return nil
}

// Subsets returns the subsets of the service that calls to it may be sent to, each once.
func (s *Plans) Subsets() []*topology.Subset {
	var list []*topology.Subset
	for i := range s.rules {
		for _, target := range s.rules[i].split.targets {
			for _, l := range target.plan.Levels {
				if l.Subset == nil || l.Service != s.service {
					continue
				}
				if !slices.ContainsFunc(list, func(have *topology.Subset) bool { return have.Name == l.Subset.Name }) {
					list = append(list, l.Subset)
				}
			}
		}
	}
	return list
}

// Service returns the name of the service.
func (s *Plans) Service() string { return s.service }

// build makes a policy from validated documents.
func build(merged map[string]entry, defaults topology.Defaults) *Policy {
	defaults.Retry.On = slices.Clone(defaults.Retry.On)
	p := &Policy{services: make(map[string]*Plans, len(merged)), defaults: defaults, reached: make(map[string]bool)}
	for name, e := range merged {
		plans := newPlans(name, e.service, defaults)
		plans.written = true
		if plans.mirror != nil {
			plans.mirror.readOnly = !e.trusted
		}
		p.services[name] = plans
		for _, to := range plans.reach {
			p.reached[to] = true
		}
	}
	return p
}

func newPlans(name string, s topology.Service, d topology.Defaults) *Plans {
	b := builder{name: name, service: s, defaults: d, subsets: make(map[string]*topology.Subset, len(s.Subsets))}
	for key, subset := range s.Subsets {
		b.subsets[key] = compiled(subset, key)
	}
	plans := &Plans{service: name, mirror: b.mirror()}
	for i, r := range s.Routes {
		plans.rules = append(plans.rules, b.rule(i, r, plans.mirror))
	}
	if len(s.Routes) == 0 || !all(s.Routes[len(s.Routes)-1].Match) {
		plans.rules = append(plans.rules, b.rule(NoRule, topology.Route{}, plans.mirror))
	}
	for _, e := range edges(name, s) {
		if !slices.Contains(plans.reach, e.To) && e.To != name {
			plans.reach = append(plans.reach, e.To)
		}
	}
	return plans
}

// all reports whether every call matches.
func all(m topology.Match) bool {
	return m.Method == "" && m.Topic == "" && m.Stage == "" && len(m.Caller) == 0 && len(m.Meta) == 0
}

// builder makes the plans of one service.
type builder struct {
	name     string
	service  topology.Service
	defaults topology.Defaults
	subsets  map[string]*topology.Subset
}

func (b *builder) rule(number int, r topology.Route, m *mirror) rule {
	failover := b.service.Failover
	if r.Failover != nil {
		failover = r.Failover
	}
	base := Plan{
		Service: b.name,
		Rule:    number,
		Timeout: cmp.Or(r.Timeout, b.service.Timeout, b.defaults.Timeout),
		Retry:   orRetry(orRetry(r.Retry, b.service.Retry), b.defaults.Retry),
		LB:      filledLB(b.service.LB, b.defaults),
		Outlier: filledOutlier(b.service.Outlier),
		mirror:  m,
	}
	base.Retry.On = slices.Clone(base.Retry.On)
	base.hashKey = strings.TrimPrefix(base.LB.Key, reach.MetaPrefix)
	if m != nil {
		base.Mirror = &m.written
	}
	if b.service.Fault != nil {
		fault := *b.service.Fault
		base.Fault, base.faultSalt = &fault, hashOf(b.name)^saltFault
	}
	return rule{
		match:  newMatcher(r.Match, b.name),
		split:  b.split(r.To, base, failover),
		sticky: strings.TrimPrefix(r.Sticky, reach.MetaPrefix),
	}
}

// split makes a copy of base for each target.
func (b *builder) split(to topology.Split, base Plan, failover []string) split {
	if len(to) == 0 {
		to = topology.Split{reach.Any: whole}
	}
	s := split{salt: hashOf(b.name) ^ saltSplit}
	for _, target := range slices.Sorted(maps.Keys(to)) {
		plan := base
		plan.Target, plan.Share = target, to[target]
		for _, st := range reach.Steps(b.name, target, failover) {
			plan.Levels = append(plan.Levels, Level{st.Service, b.subsets[st.Subset], scopeOf(st.Scope)})
		}
		s.targets = append(s.targets, splitTarget{
			plan: &plan, share: to[target], seed: targetSeed(b.name, target),
		})
	}
	s.introduce()
	return s
}

// introduce sets Plan.others of each plan.
func (s *split) introduce() {
	for i := range s.targets {
		plan := s.targets[i].plan
		for j := range s.targets {
			if t := &s.targets[j]; j != i && t.share > 0 {
				plan.others = append(plan.others, t.plan)
			}
		}
		slices.SortStableFunc(plan.others, func(a, b *Plan) int { return b.Share - a.Share })
	}
}

// mirror makes the plans for copies of calls, with one level and one attempt, or returns nil.
func (b *builder) mirror() *mirror {
	if b.service.Mirror == nil {
		return nil
	}
	m := &mirror{
		written: topology.Mirror{To: maps.Clone(b.service.Mirror.To), Percent: b.service.Mirror.Percent},
		salt:    hashOf(b.name) ^ saltMirror,
	}
	m.split = b.split(m.written.To, Plan{
		Service: b.name,
		Rule:    NoRule,
		Timeout: cmp.Or(b.service.Timeout, b.defaults.Timeout),
		Retry:   topology.Retry{Attempts: 1},
		LB:      filledLB(b.service.LB, b.defaults),
		Outlier: filledOutlier(b.service.Outlier),
		hashKey: strings.TrimPrefix(b.service.LB.Key, reach.MetaPrefix),
	}, nil)
	m.split.salt ^= saltMirror
	return m
}
