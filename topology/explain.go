package topology

import (
	"cmp"
	"slices"
	"strings"
)

// Candidate is an instance of a service as the explaining side knows it.
type Candidate struct {
	ID, Addr                 string
	Tags                     []string // in any order
	TagsUnknown              bool     // it may be in every subset and place, until it says its tags
	Meta                     map[string]string
	Zone, Region, Datacenter string
	Weight                   int    // shown if not all have the same
	Trouble                  string // why it is not available: "draining"; "" if it is
	Note                     string // what else is known: "connected, 3 in flight, 1.2ms"
}

func (c *Candidate) locality() Locality { return Locality{c.Zone, c.Region, c.Datacenter} }

// Explanation says what a policy does with one call, and why. Its String is made to be read.
type Explanation struct {
	Service string
	Request Request
	At      Locality // where the caller is

	Written bool     // whether a document has an entry for the service
	Rule    int      // index of the route that matched, or NoRule
	Passed  []Passed // the routes before it
	Shares  []Share  // the targets of the rule, greatest share first
	Target  string   // the one chosen
	Sticky  string   // where the rule finds its key: "meta:user-id", "the call's key", "" for chance
	Key     string   // the key that decided; "" if chance did, or there was no choice
	Plan    *Plan    // the plan of the rule and the target

	// Fixed says why the policy's own choice did not count, "" if it did.
	Fixed string

	Levels    []ExplainedLevel    // in order, those of other services in place
	Instances []ExplainedInstance // those of Service and of all services in Levels, by service, level and ID
}

// explainer is an Explanation that is being made or printed.
type explainer Explanation

// Passed is a route that did not match.
type Passed struct {
	Rule int
	Why  string // "is for method orders/export"
}

// Share is a target and its share of the calls in percent.
type Share struct {
	Target string
	Share  int
}

// ExplainedLevel is a level and who is in it.
type ExplainedLevel struct {
	Level

	Via              string        // "by routes[0] of orders-new"; "" if no rule of another service leads there
	LB               LoadBalancing // how an instance of it is chosen
	Available, Total int
	Takes            float64 // share of the calls that it gets now, 0 to 1
}

// ExplainedInstance is an instance and why it was or was not chosen.
type ExplainedInstance struct {
	Candidate

	Service string
	Level   int  // the first that holds it, counted from 1; 0 if none does
	Chosen  bool // whether the call may go to it as things are
	Reason  string
}

// Explain says what p does with a call to service from a caller at a place. Candidates returns the
// instances of a service, which are not kept; nil stands for none at all. It is asked once for
// each service that the call may reach. Panic thresholds, which are a matter of load balancing,
// are left to the caller: Trouble of an ejected instance that is called in a panic is "".
func Explain(p *Policy, service string, r Request, at Locality, candidates func(service string) []Candidate) Explanation {
	return ExplainPlan(p, service, r, nil, at, candidates)
}

// ExplainPlan is Explain for a caller that has chosen among the targets of the rule itself: plan is
// the one of its choice, or nil.
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

// leadsTo reports whether a plan is of one of the rule's targets.
func (u *rule) leadsTo(plan *Plan) bool {
	return slices.ContainsFunc(u.split.targets, func(t splitTarget) bool { return t.plan == plan })
}

// source says where a rule finds the key that decides.
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

// expand appends the levels of a plan, those of other services in place of what stands for them.
// Compile has bounded their number and depth.
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

// instances fills in who is in the levels, what each takes, and the instances.
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

// spread shares the calls out over the levels.
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

// verdict says whether an instance may be called, and why or why not.
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

// otherwise says which share of such calls an instance gets that is not for this one.
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

// last is the number of the last level that takes calls, or 0.
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
