package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/linkmesh/link/internal/policy/reach"
	"github.com/linkmesh/link/topology"
)

// explainer is an explanation that is being made.
type explainer struct {
	topology.Explanation

	request *Request
	at      Locality
	plan    *Plan

	// levels are those of Explanation.Levels, in the same order.
	levels []Level
}

// Explain says what p does with a call to service from a caller at a locality. Instances returns the
// instances of a service, whose Service, Level, Chosen and Reason Explain sets in its own copies. Explain
// calls it once for each service that the call may reach; nil means that no instances are known. Panic
// thresholds belong to load balancing and are left to the caller: it leaves Trouble empty for an ejected
// instance that a panic makes available.
func Explain(p *Policy, service string, r Request, at Locality, instances func(service string) []topology.ExplainedInstance) topology.Explanation {
	return ExplainPlan(p, service, r, nil, at, instances)
}

// ExplainPlan is like Explain, for a caller that has chosen among the targets of the rule itself: plan
// is the plan it chose, or nil. A plan that does not belong to the matching rule is ignored.
func ExplainPlan(p *Policy, service string, r Request, plan *Plan, at Locality, instances func(service string) []topology.ExplainedInstance) topology.Explanation {
	e, rule := newExplainer(p, service, &r, at)
	if e.plan, e.Key = rule.choose(&r); plan != nil && plan != e.plan && rule.leadsTo(plan) {
		e.plan, e.Key, e.Fixed = plan, "", "what the call asks for itself"
	}
	e.Asked, e.Target, e.Sticky = true, e.plan.Target, rule.source(&r)
	e.Shares = make(topology.Split, len(rule.split.targets))
	for _, t := range rule.split.targets {
		e.Shares[t.plan.Target] = t.share
	}
	e.settings()
	e.expand(p, e.plan, "")
	e.enlist(instances)
	return e.Explanation
}

// ExplainInstance is like Explain, for a call that names its instance by ID. The rule that matches chooses no target
// for it, but applies otherwise. The caller sets Trouble for all instances but that one.
func ExplainInstance(p *Policy, service string, r Request, id string, at Locality, instances func(service string) []topology.ExplainedInstance) topology.Explanation {
	e, rule := newExplainer(p, service, &r, at)
	// What is not about where calls go is the same for all targets of the rule.
	plan := *rule.split.targets[0].plan
	plan.Levels, plan.others = []Level{{Service: service}}, nil
	e.plan, e.Target, e.Fixed = &plan, id, "the call names its instance, "+id
	e.settings()
	e.expand(p, e.plan, "")
	e.Levels[0].How = "named by the call"
	e.enlist(instances)
	return e.Explanation
}

// newExplainer begins an explanation, up to the rule that matches, which it returns. The last rule matches every call.
func newExplainer(p *Policy, service string, r *Request, at Locality) (*explainer, *rule) {
	plans := p.Service(service)
	e := &explainer{request: r, at: at}
	e.Service, e.Kind, e.Name, e.Written = service, r.Kind, r.Name, plans.written
	e.Caller.Service, e.Caller.Zone, e.Caller.Region, e.Caller.Datacenter = r.Caller, at.Zone, at.Region, at.Datacenter
	matching := &plans.rules[0]
	for i := 1; !matching.match.matches(r); i++ {
		e.Passed = append(e.Passed, matching.match.why(r))
		matching = &plans.rules[i]
	}
	return e, matching
}

// settings copies what the plan says, so that a caller who changes the explanation changes no plan.
func (e *explainer) settings() {
	p := e.plan
	e.Rule, e.Timeout, e.Retry = p.Rule, p.Timeout, p.Retry
	e.Retry.On = slices.Clone(p.Retry.On)
	if m := p.Mirror; m != nil {
		e.Mirror = &topology.Mirror{To: maps.Clone(m.To), Percent: m.Percent}
	}
	if p.Fault != nil {
		fault := *p.Fault
		e.Fault = &fault
	}
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
		return reach.MetaPrefix + u.sticky
	}
	return ""
}

// expand appends the levels of a plan. It replaces a level of another service by the levels of that
// service's plan. Compile has bounded their number and depth.
func (e *explainer) expand(p *Policy, plan *Plan, via string) {
	for _, l := range plan.Levels {
		if l.Service == plan.Service {
			e.level(l, plan, via)
			continue
		}
		next, via := p.Service(l.Service).Route(e.request), ""
		if next.Rule != NoRule {
			via = "by routes[" + itoa(next.Rule) + "] of " + l.Service
		}
		e.expand(p, next, via)
	}
}

// level appends a level of a plan.
func (e *explainer) level(l Level, plan *Plan, via string) {
	explained := topology.ExplainedLevel{
		Service: l.Service, Scope: l.Scope.String(), Via: via, LB: plan.LB, Outlier: plan.Outlier, How: plan.how(e.request),
	}
	if l.Subset != nil {
		explained.Subset = l.Subset.Name
	}
	e.levels, e.Levels = append(e.levels, l), append(e.Levels, explained)
}

// how says how an instance of a level is chosen for a call.
func (p *Plan) how(r *Request) string {
	if _, ok := p.KeyOf(r); ok {
		return "by the hash of its key"
	}
	if p.LB.Policy == topology.Hash {
		return "no key, so " + string(topology.P2C)
	}
	return string(p.LB.Policy)
}

// enlist fills in the instances, and the counts and shares of the levels.
func (e *explainer) enlist(instances func(string) []topology.ExplainedInstance) {
	services := []string{e.Service}
	for i := range e.Levels {
		if s := e.Levels[i].Service; !slices.Contains(services, s) {
			services = append(services, s)
		}
	}
	for _, service := range services {
		if instances == nil {
			break
		}
		first := len(e.Instances)
		for _, in := range instances(service) {
			in.Service, in.Level = service, 0
			e.Instances = append(e.Instances, in)
			e.enter(&e.Instances[len(e.Instances)-1])
		}
		slices.SortStableFunc(e.Instances[first:], func(a, b topology.ExplainedInstance) int {
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
func (e *explainer) enter(in *topology.ExplainedInstance) {
	for i := range e.Levels {
		l := &e.Levels[i]
		if !e.holds(e.levels[i], in) {
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

// holds reports whether an instance is one of a level's.
func (e *explainer) holds(l Level, in *topology.ExplainedInstance) bool {
	if l.Service != in.Service || in.TagsUnknown {
		return l.Service == in.Service
	}
	return l.Scope.Contains(e.at, placeOf(in)) && (l.Subset == nil || l.Subset.Matches(sortedSet(in.Tags), in.Meta))
}

// placeOf returns where an instance is.
func placeOf(in *topology.ExplainedInstance) Locality {
	return Locality{Zone: in.Zone, Region: in.Region, Datacenter: in.Datacenter}
}

// spread computes the share of the calls that each level takes.
func (e *explainer) spread() {
	const rounding = 1e-9
	left, first := 1.0, -1
	for i := range e.Levels {
		l := &e.Levels[i]
		l.Takes = left * e.levels[i].Takes(l.Available, l.Total)
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
func (e *explainer) verdict(in *topology.ExplainedInstance) (bool, string) {
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
		if e.Levels[i].Takes > 0 && e.holds(e.levels[i], in) {
			return true, "level " + itoa(i+1) + note
		}
	}
	return false, number + "; level " + itoa(e.last()) + " comes first" + note
}

// otherwise says which share of such calls goes to another target that holds the instance.
func (e *explainer) otherwise(in *topology.ExplainedInstance) string {
	for _, plan := range e.plan.others {
		if e.holds(plan.Levels[0], in) {
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
func (e *explainer) outside(in *topology.ExplainedInstance) string {
	var reasons []string
	for _, l := range e.levels {
		if l.Service != in.Service {
			continue
		}
		reason := l.Scope.outside(e.at, placeOf(in))
		if l.Subset != nil && !l.Subset.Matches(sortedSet(in.Tags), in.Meta) {
			reason = "not in subset " + l.Subset.Name + ": " + lacks(l.Subset, in.Tags, in.Meta)
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
