package topology

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Policy is a compiled policy. It is immutable and safe for concurrent use. The nil Policy behaves
// like a policy without documents: every instance, p2c, near zones first.
type Policy struct {
	services map[string]*Plans
	defaults Defaults
	bounded  []error

	// reached holds the services that calls to another service may be sent to.
	reached map[string]bool
}

// Bounded returns the settings of untrusted layers that were forced into bounds, each as a
// *FieldError of kind ErrBounded. It returns at most MaxProblems.
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
		return newPlans(name, Service{}, Defaults{})
	}
	if s, ok := p.services[name]; ok {
		return s
	}
	return newPlans(name, Service{}, p.defaults)
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
func (s *Plans) Subsets() []*Subset {
	var list []*Subset
	for i := range s.rules {
		for _, target := range s.rules[i].split.targets {
			for _, l := range target.plan.Levels {
				if l.Subset == nil || l.Service != s.service {
					continue
				}
				if !slices.ContainsFunc(list, func(have *Subset) bool { return have.Name == l.Subset.Name }) {
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
func build(g graph, defaults Defaults) *Policy {
	defaults.Retry.On = slices.Clone(defaults.Retry.On)
	p := &Policy{services: make(map[string]*Plans, len(g)), defaults: defaults, reached: make(map[string]bool)}
	for name, e := range g {
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

func newPlans(name string, s Service, d Defaults) *Plans {
	b := builder{name: name, service: s, defaults: d, subsets: make(map[string]*Subset, len(s.Subsets))}
	for key, subset := range s.Subsets {
		b.subsets[key] = subset.compiled(key)
	}
	plans := &Plans{service: name, mirror: b.mirror()}
	for i, r := range s.Routes {
		plans.rules = append(plans.rules, b.rule(i, r, plans.mirror))
	}
	if len(s.Routes) == 0 || !s.Routes[len(s.Routes)-1].Match.all() {
		plans.rules = append(plans.rules, b.rule(NoRule, Route{}, plans.mirror))
	}
	for _, e := range append(s.edges(name), s.mirrors(name)...) {
		if !slices.Contains(plans.reach, e.to) && e.to != name {
			plans.reach = append(plans.reach, e.to)
		}
	}
	return plans
}

// builder makes the plans of one service.
type builder struct {
	name     string
	service  Service
	defaults Defaults
	subsets  map[string]*Subset
}

func (b *builder) rule(number int, r Route, m *mirror) rule {
	failover := b.service.Failover
	if r.Failover != nil {
		failover = r.Failover
	}
	base := Plan{
		Service: b.name,
		Rule:    number,
		Timeout: cmp.Or(r.Timeout, b.service.Timeout, b.defaults.Timeout),
		Retry:   r.Retry.or(b.service.Retry).or(b.defaults.Retry),
		LB:      b.service.LB.filled(b.defaults),
		Outlier: b.service.Outlier.filled(),
		mirror:  m,
	}
	base.Retry.On = slices.Clone(base.Retry.On)
	base.hashKey = strings.TrimPrefix(base.LB.Key, prefixMeta)
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
		sticky: strings.TrimPrefix(r.Sticky, prefixMeta),
	}
}

// split makes a copy of base for each target.
func (b *builder) split(to Split, base Plan, failover []string) split {
	if len(to) == 0 {
		to = Split{wordAny: whole}
	}
	s := split{salt: hashOf(b.name) ^ saltSplit}
	for _, target := range slices.Sorted(maps.Keys(to)) {
		plan := base
		plan.Target, plan.Share = target, to[target]
		for _, st := range steps(b.name, target, failover) {
			plan.Levels = append(plan.Levels, Level{st.service, b.subsets[st.subset], st.scope})
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
		written: Mirror{To: maps.Clone(b.service.Mirror.To), Percent: b.service.Mirror.Percent},
		salt:    hashOf(b.name) ^ saltMirror,
	}
	m.split = b.split(m.written.To, Plan{
		Service: b.name,
		Rule:    NoRule,
		Timeout: cmp.Or(b.service.Timeout, b.defaults.Timeout),
		Retry:   Retry{Attempts: 1},
		LB:      b.service.LB.filled(b.defaults),
		Outlier: b.service.Outlier.filled(),
		hashKey: strings.TrimPrefix(b.service.LB.Key, prefixMeta),
	}, nil)
	m.split.salt ^= saltMirror
	return m
}
