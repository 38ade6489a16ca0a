package policy_test

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/topology"
)

// world makes random documents, requests and instances.
type world struct{ *rand.Rand }

func (w world) one(words ...string) string { return words[w.IntN(len(words))] }

func (w world) some(most int, word func() string) []string {
	var list []string
	for range w.IntN(most + 1) {
		if w := word(); !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}

func (w world) document() *topology.Document {
	doc := &topology.Document{Services: map[string]topology.Service{}}
	for i := range 4 {
		if w.IntN(5) == 0 {
			continue
		}
		s := topology.Service{Subsets: map[string]topology.Subset{}, Failover: w.failover(i)}
		for _, subset := range []string{"a", "b", "c"} {
			s.Subsets[subset] = topology.Subset{Tags: append(w.some(1, func() string { return "t4" }), w.tag()), Meta: map[string]string{"m": w.one("0", "1")}}
		}
		for range w.IntN(4) {
			s.Routes = append(s.Routes, w.route(i))
			// Routes after one that matches every call are never reached, so most documents end there.
			if last := s.Routes[len(s.Routes)-1].Match; last.Method == "" && len(last.Caller) == 0 && w.IntN(20) > 0 {
				break
			}
		}
		doc.Services[fmt.Sprint("s", i)] = s
	}
	return doc
}

func (w world) tag() string { return w.one("t0", "t1", "t2", "t3") }

// target returns a target of service from. It is sometimes a later service and rarely an earlier
// one, so that most documents have no circle.
func (w world) target(from int) string {
	switch w.IntN(8) {
	case 0, 1:
		return fmt.Sprint("service:s", from+1+w.IntN(4-from))
	case 2:
		if w.IntN(10) == 0 {
			return "service:s0"
		}
	}
	return w.one("a", "b", "c", "any")
}

// failover returns a failover list that is mostly in an order that Validate accepts.
func (w world) failover(from int) []string {
	list := slices.DeleteFunc([]string{"zone", "region", "dc", "any"}, func(string) bool { return w.IntN(2) == 0 })
	if w.IntN(10) == 0 {
		w.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return append(list, w.some(3, func() string {
		return w.one("subset:a", "subset:b", fmt.Sprint("service:s", from+1+w.IntN(4-from)))
	})...)
}

func (w world) route(from int) topology.Route {
	r := topology.Route{To: topology.Split{}}
	if w.IntN(4) > 0 {
		r.Match = topology.Match{Method: w.one("m0", "m1", "m*", ""), Caller: w.some(1, func() string { return w.one("c0", "c1") })}
	}
	if share := w.IntN(101); w.IntN(2) == 0 {
		r.To[w.target(from)] = 100
	} else if x, y := w.target(from), w.target(from); x != y {
		r.To[x], r.To[y] = share, 100-share
	}
	if w.IntN(3) == 0 {
		r.Failover = w.failover(from)
	}
	return r
}

func (w world) request() policy.Request {
	return policy.Request{Kind: w.one("method", "topic"), Name: w.one("m0", "m1", "x"), Caller: w.one("c0", "c1", "c2"), Random: w.Uint64()}
}

func (w world) instances(service string) []topology.ExplainedInstance {
	list := make([]topology.ExplainedInstance, w.IntN(12))
	for i := range list {
		list[i] = topology.ExplainedInstance{
			ID: fmt.Sprint(service, "-", i), Tags: append(w.some(3, w.tag), "t4"), Meta: map[string]string{"m": w.one("0", "1")},
			Zone: w.one("", "z0", "z1"), Region: w.one("r0", "r1"), Datacenter: w.one("d0", "d1"), Trouble: w.one("", "", "", "draining"),
		}
	}
	return list
}

// allowed reports whether a call may reach an instance, whatever else is available. It is a second
// implementation of the rules, as simple as possible.
func allowed(doc *topology.Document, service, of string, c topology.ExplainedInstance, r policy.Request, target string, at policy.Locality) bool {
	s := doc.Services[service]
	failover := s.Failover
	for _, route := range s.Routes {
		if matches(route.Match, r) {
			if route.Failover != nil {
				failover = route.Failover
			}
			break
		}
	}
	in := func(name string) bool {
		subset := s.Subsets[name]
		return of == service && (name == "any" || subset.Matches(slices.Sorted(slices.Values(c.Tags)), c.Meta))
	}
	// The rules of the other service are checked in a call of their own.
	elsewhere := func(name string) bool { return of == name }
	if name, ok := strings.CutPrefix(target, "service:"); ok {
		if elsewhere(name) {
			return true
		}
	} else if begins := slices.Contains([]string{"zone", "region", "dc"}, append(failover, "")[0]); !begins && in(target) {
		return true
	}
	for _, word := range failover {
		name, isService := strings.CutPrefix(word, "service:")
		switch {
		case isService:
			if elsewhere(name) {
				return true
			}
		case strings.HasPrefix(word, "subset:"):
			if in(strings.TrimPrefix(word, "subset:")) {
				return true
			}
		case strings.HasPrefix(target, "service:"):
		case word == "any" && in(target),
			word == "zone" && at.Zone == c.Zone && at.Zone != "" && in(target),
			word == "region" && at.Region == c.Region && in(target),
			word == "dc" && at.Datacenter == c.Datacenter && in(target):
			return true
		}
	}
	return false
}

func matches(m topology.Match, r policy.Request) bool {
	prefix, wild := strings.CutSuffix(m.Method, "*")
	return (m.Method == "" || r.Kind == "method" && (m.Method == r.Name || wild && strings.HasPrefix(r.Name, prefix))) &&
		(len(m.Caller) == 0 || slices.Contains(m.Caller, r.Caller))
}

func TestEveryChoiceSatisfiesTheDocument(t *testing.T) {
	w := world{rand.New(rand.NewPCG(7, 7))}
	documents, valid := race.Fewer(3000, 600), 0
	for range documents {
		doc := w.document()
		p, err := policy.Compile(policy.Options{}, policy.Layer{Document: doc, Trusted: true})
		if verr := doc.Validate(); (err == nil) != (verr == nil) {
			t.Fatalf("Compile says %v, Validate %v", err, verr)
		}
		if err != nil {
			continue
		}
		valid++
		for range 5 {
			w.check(t, doc, p)
		}
	}
	if valid < documents/3 {
		t.Errorf("only %d documents were valid; the test checks little", valid)
	}
}

// check explains one call and compares the verdict on each instance with allowed.
func (w world) check(t *testing.T, doc *topology.Document, p *policy.Policy) {
	t.Helper()
	service, r := w.one("s0", "s1", "s2", "s3", "s4"), w.request()
	at := policy.Locality{Zone: w.one("", "z0"), Region: "r0", Datacenter: "d0"}
	e := policy.Explain(p, service, r, at, w.instances)
	if plan := p.Service(service).Route(&r); e.Rule != plan.Rule || e.Target != plan.Target {
		t.Fatalf("Explain took rule %d and %s, Route %+v", e.Rule, e.Target, plan)
	}
	if share, ok := doc.Services[service].Routes, e.Rule != policy.NoRule; ok && len(share[e.Rule].To) > 0 && share[e.Rule].To[e.Target] == 0 {
		t.Fatalf("rule %d gives %s nothing: %v", e.Rule, e.Target, share[e.Rule].To)
	}
	// The routes that did not match are all those before the one that did.
	passed := e.Rule
	if e.Rule == policy.NoRule {
		passed = len(doc.Services[service].Routes)
	}
	if len(e.Passed) != passed {
		t.Fatalf("rule %d of %d, %d did not match: %q", e.Rule, len(doc.Services[service].Routes), len(e.Passed), e.Passed)
	}
	if len(e.Levels) == 0 || len(e.Levels) > limits.MaxLevels {
		t.Fatalf("%d levels", len(e.Levels))
	}
	sum, available := 0.0, 0
	for _, l := range e.Levels {
		sum += l.Takes
		available += l.Available
		if !slices.Contains(p.Services(service), l.Service) {
			t.Fatalf("%s is not among the services to watch: %v", l.Service, p.Services(service))
		}
	}
	if available > 0 && math.Abs(sum-1) > 1e-9 || available == 0 && sum != 0 {
		t.Fatalf("the levels take %v of the calls, %d instances are available", sum, available)
	}
	// Each service that is reached chooses its target by its own plan.
	targets := map[string]string{}
	for _, reached := range p.Services(service) {
		targets[reached] = p.Service(reached).Route(&r).Target
	}
	chosen := 0
	for _, in := range e.Instances {
		ok := false
		for reached := range maps.Keys(targets) {
			ok = ok || reached == in.Service && allowed(doc, reached, in.Service, in, r, targets[reached], at)
		}
		if in.Chosen {
			chosen++
		}
		if in.Chosen && (!ok || in.Trouble != "" || in.Level == 0) || in.Level > 0 && !ok {
			t.Fatalf("%+v is not allowed\n%s\n%+v", in, e, doc.Services)
		}
		if in.Reason == "" {
			t.Fatalf("no reason for %+v", in)
		}
	}
	if (chosen > 0) != (available > 0) {
		t.Fatalf("%d chosen, %d available\n%s", chosen, available, e)
	}
}
