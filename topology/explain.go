package topology

import (
	"cmp"
	"slices"
	"strings"
)

// Candidate is an instance of a service as the caller of Explain knows it.
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

func (c *Candidate) locality() Locality { return Locality{c.Zone, c.Region, c.Datacenter} }

// Explanation says what a policy does with one call, and why. Its String is for people to read.
type Explanation struct {
	Service string
	Request Request

	// At is the locality of the caller.
	At Locality

	// Written reports whether a document has an entry for the service.
	Written bool

	// Rule is the index of the route that matched, or NoRule.
	Rule int

	// Passed are the routes that were tried before and did not match.
	Passed []Passed

	// Shares are the targets of the rule, greatest share first.
	Shares []Share

	// Target is the chosen target.
	Target string

	// Sticky names the source of the key: "meta:user-id", "the call's key". It is empty if the rule uses no key.
	Sticky string

	// Key is the key that decided. It is empty after a random choice, and if there was only one target.
	Key string

	// Plan is the plan of the rule and the target.
	Plan *Plan

	// Fixed says why the policy's own choice was overridden. It is empty if it was not.
	Fixed string

	// Levels are in order. A level of another service is replaced by the levels of that service's plan.
	Levels []ExplainedLevel

	// Instances are those of Service and of all services in Levels, by service, level and ID.
	Instances []ExplainedInstance
}

// explainer is an Explanation that is being made or printed.
type explainer Explanation

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

// ExplainedLevel is a level, its number of instances and its share of the calls.
type ExplainedLevel struct {
	Level

	// Via names the rule of another service that leads to the level: "by routes[0] of orders-new". It is
	// empty if there is no such rule.
	Via string

	// LB is how an instance of the level is chosen.
	LB LoadBalancing

	Available, Total int

	// Takes is the share of the calls that the level gets now, 0 to 1.
	Takes float64
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

// Explain says what p does with a call to service from a caller at a locality. Candidates returns the
// instances of a service, which are not kept. Explain calls it once for each service that the call
// may reach; nil means that no instances are known. Panic thresholds belong to load balancing and are
// left to the caller: it leaves Trouble empty for an ejected instance that a panic makes available.
func Explain(p *Policy, service string, r Request, at Locality, candidates func(service string) []Candidate) Explanation {
	return ExplainPlan(p, service, r, nil, at, candidates)
}

// ExplainPlan is like Explain, for a caller that has chosen among the targets of the rule itself: plan
// is the plan it chose, or nil. A plan that does not belong to the matching rule is ignored.
func ExplainPlan(p *Policy, service string, r Request, plan *Plan, at Locality, candidates func(service string) []Candidate) Explanation {
	plans := p.Service(service)
	e := explainer{Service: service, Request: r, At: at, Written: plans.written}
	for i := range plans.rules {
		rule := &plans.rules[i]
		if !rule.match.matches(&r) {
			e.Passed = append(e.Passed, Passed{i, rule.match.why(&r)})
			continue
		}
		if e.Plan, e.Key = rule.choose(&r); plan != nil && plan != e.Plan && rule.leadsTo(plan) {
			e.Plan, e.Key, e.Fixed = plan, "", "what the call asks for itself"
		}
		e.Sticky = rule.source(&r)
		for _, t := range rule.split.targets {
			e.Shares = append(e.Shares, Share{t.plan.Target, t.share})
		}
		break
	}
	slices.SortStableFunc(e.Shares, func(a, b Share) int { return cmp.Compare(b.Share, a.Share) })
	e.Rule, e.Target = e.Plan.Rule, e.Plan.Target
	e.expand(p, e.Plan, "")
	e.instances(candidates)
	return Explanation(e)
}

// leadsTo reports whether plan belongs to one of the rule's targets.
func (u *rule) leadsTo(plan *Plan) bool {
	return slices.ContainsFunc(u.split.targets, func(t splitTarget) bool { return t.plan == plan })
}

// source names the source of the key that decides, or returns "" if no key does.
func (u *rule) source(r *Request) string {
	switch {
	case len(u.split.targets) == 1:
		return ""
	case r.Key != "":
		return "the call's key"
	case u.sticky != "":
		return prefixMeta + u.sticky
	}
	return ""
}

// expand appends the levels of a plan. It replaces a level of another service by the levels of that
// service's plan. Compile has bounded their number and depth.
func (e *explainer) expand(p *Policy, plan *Plan, via string) {
	for _, l := range plan.Levels {
		if l.Service == plan.Service {
			e.Levels = append(e.Levels, ExplainedLevel{Level: l, Via: via, LB: plan.LB})
			continue
		}
		next, via := p.Service(l.Service).Route(&e.Request), ""
		if next.Rule != NoRule {
			via = "by routes[" + itoa(next.Rule) + "] of " + l.Service
		}
		e.expand(p, next, via)
	}
}

// instances fills in the instances, and the counts and shares of the levels.
func (e *explainer) instances(candidates func(string) []Candidate) {
	services := []string{e.Service}
	for i := range e.Levels {
		if s := e.Levels[i].Service; !slices.Contains(services, s) {
			services = append(services, s)
		}
	}
	for _, service := range services {
		if candidates == nil {
			break
		}
		first := len(e.Instances)
		for _, c := range candidates(service) {
			e.Instances = append(e.Instances, ExplainedInstance{Candidate: c, Service: service})
			e.enter(&e.Instances[len(e.Instances)-1])
		}
		slices.SortStableFunc(e.Instances[first:], func(a, b ExplainedInstance) int {
			return cmp.Or(cmp.Compare(uint(a.Level-1), uint(b.Level-1)), cmp.Compare(a.ID, b.ID))
		})
	}
	e.spread()
	for i := range e.Instances {
		in := &e.Instances[i]
		if in.Chosen, in.Reason = e.verdict(in); !in.Chosen && in.Trouble == "" {
			in.Reason += e.otherwise(in)
		}
	}
}

// enter counts an instance in the levels that hold it.
func (e *explainer) enter(in *ExplainedInstance) {
	for i := range e.Levels {
		l := &e.Levels[i]
		if !e.holds(l, in) {
			continue
		}
		if in.Level == 0 {
			in.Level = i + 1
		}
		l.Total++
		if in.Trouble == "" {
			l.Available++
		}
	}
}

func (e *explainer) holds(l *ExplainedLevel, in *ExplainedInstance) bool {
	if l.Service != in.Service || in.TagsUnknown {
		return l.Service == in.Service
	}
	return l.Scope.Contains(e.At, in.locality()) && (l.Subset == nil || l.Subset.Matches(sortedSet(in.Tags), in.Meta))
}

// spread computes the share of the calls that each level takes.
func (e *explainer) spread() {
	const rounding = 1e-9
	left, first := 1.0, -1
	for i := range e.Levels {
		l := &e.Levels[i]
		l.Takes = left * l.Level.Takes(l.Available, l.Total)
		left -= l.Takes
		if first < 0 && l.Available > 0 {
			first = i
		}
	}
	if first >= 0 && left > rounding {
		e.Levels[first].Takes += left
	}
}

// verdict reports whether an instance may be called, and why or why not.
func (e *explainer) verdict(in *ExplainedInstance) (bool, string) {
	if in.Level == 0 {
		return false, e.outside(in)
	}
	number := "level " + itoa(in.Level)
	if in.Trouble != "" {
		return false, number + "; " + in.Trouble
	}
	note := ""
	if in.Note != "" {
		note = "; " + in.Note
	}
	for i := range e.Levels {
		if l := &e.Levels[i]; l.Takes > 0 && e.holds(l, in) {
			return true, "level " + itoa(i+1) + note
		}
	}
	return false, number + "; level " + itoa(e.last()) + " comes first" + note
}

// otherwise says which share of such calls goes to another target that holds the instance.
func (e *explainer) otherwise(in *ExplainedInstance) string {
	if e.Plan == nil {
		return ""
	}
	for _, plan := range e.Plan.others {
		l := ExplainedLevel{Level: plan.Levels[0]}
		if e.holds(&l, in) {
			return "; " + plan.Target + " gets " + itoa(plan.Share) + "% of such calls"
		}
	}
	return ""
}

// last returns the number of the last level that takes calls, or 0 if none does.
func (e *explainer) last() int {
	for i, l := range slices.Backward(e.Levels) {
		if l.Takes > 0 {
			return i + 1
		}
	}
	return 0
}

// outside says why no level holds an instance.
func (e *explainer) outside(in *ExplainedInstance) string {
	var reasons []string
	for i := range e.Levels {
		l := &e.Levels[i]
		if l.Service != in.Service {
			continue
		}
		reason := l.Scope.outside(e.At, in.locality())
		if l.Subset != nil && !l.Subset.Matches(sortedSet(in.Tags), in.Meta) {
			reason = "not in subset " + l.Subset.Name + ": " + l.Subset.lacks(in.Tags, in.Meta)
		}
		if !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	if len(reasons) == 0 {
		return "the calls go to " + e.Target
	}
	return strings.Join(reasons, "; ")
}

// outside says why an instance is not within the scope.
func (s Scope) outside(at, of Locality) string {
	what, caller, instance := "zone", at.Zone, of.Zone
	switch s { //nolint:exhaustive // nothing is outside of Anywhere, and SameZone is above
	case SameRegion:
		what, caller, instance = "region", at.Region, of.Region
	case SameDatacenter:
		what, caller, instance = "datacenter", at.Datacenter, of.Datacenter
	}
	switch {
	case caller == "":
		return "the caller's " + what + " is not known"
	case instance == "":
		return "its " + what + " is not known"
	}
	return "in " + what + " " + instance + ", not " + caller
}
