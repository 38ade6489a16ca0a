package topology_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/topology"
)

func TestZeroDocumentsAreValid(t *testing.T) {
	var none *topology.Document
	for name, doc := range map[string]*topology.Document{
		"nil": none, "zero": {}, "zero service": policytest.Of(topology.Service{}), "zero route": policytest.Of(topology.Service{Routes: []topology.Route{{}}}),
		"zero outlier": policytest.Of(topology.Service{Outlier: &topology.Outlier{}}),
	} {
		if err := doc.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	long := strings.Repeat("x", limits.MaxName+1)
	many := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprint("w", i))
		}
		return list
	}
	subsets := func(n int) map[string]topology.Subset {
		m := map[string]topology.Subset{}
		for _, name := range many(n) {
			m[name] = topology.Subset{Tags: []string{name}}
		}
		return m
	}
	split := topology.Split{}
	for _, name := range many(limits.MaxTargets + 1) {
		split[name] = 0
	}
	split["w0"] = 100
	for _, test := range []struct {
		name string
		doc  *topology.Document
		kind error
		want string
	}{
		{"a version of its own", &topology.Document{Version: "1"}, topology.ErrInvalid, `version: "1" is not known, want "link/v1"`},
		{
			"too many services", &topology.Document{Services: func() map[string]topology.Service {
				m := map[string]topology.Service{}
				for _, name := range many(limits.MaxServices + 1) {
					m[name] = topology.Service{}
				}
				return m
			}()},
			topology.ErrLimit, "services: has 4097 services, want at most 4096",
		},
		{
			"too many subsets", policytest.Of(topology.Service{Subsets: subsets(limits.MaxSubsets + 1)}),
			topology.ErrLimit, "services.orders.subsets: has 65 subsets, want at most 64",
		},
		{
			"too many targets", policytest.Of(topology.Service{Subsets: subsets(limits.MaxTargets + 1), Routes: []topology.Route{{To: split}}}),
			topology.ErrLimit, "services.orders.routes[0].to: has 17 targets, want at most 16",
		},
		{
			"too many routes", policytest.Of(topology.Service{Routes: func() (list []topology.Route) {
				for _, name := range many(limits.MaxRoutes + 1) {
					list = append(list, topology.Route{Match: topology.Match{Method: name}})
				}
				return list
			}()}),
			topology.ErrLimit, "services.orders.routes: has 257 routes, want at most 256",
		},
		{
			"too many failovers", policytest.Of(topology.Service{Failover: func() (list []string) {
				for _, name := range many(limits.MaxFailover + 1) {
					list = append(list, "service:"+name)
				}
				return list
			}()}),
			topology.ErrLimit, "services.orders.failover: has 17 entries, want at most 16",
		},
		{
			"too many tags", policytest.Of(topology.Service{Subsets: map[string]topology.Subset{"a": {Tags: many(limits.MaxPairs + 1)}}}),
			topology.ErrLimit, "services.orders.subsets.a: has 65 tags and pairs of meta, want at most 64",
		},
		{
			"too many callers", policytest.Of(topology.Service{Routes: []topology.Route{{Match: topology.Match{Caller: many(17)}}}}),
			topology.ErrLimit, "services.orders.routes[0].match.caller: has 17 callers, want at most 16",
		},
		{
			"a long service", &topology.Document{Services: map[string]topology.Service{long: {}}},
			topology.ErrInvalid, "want at most 255 bytes",
		},
		{
			"a long subset", policytest.Of(topology.Service{Subsets: map[string]topology.Subset{long: {Tags: []string{"a"}}}}),
			topology.ErrInvalid, "want at most 255 bytes",
		},
		{
			"a long tag", policytest.Of(topology.Service{Subsets: map[string]topology.Subset{"a": {Tags: []string{long}}}}),
			topology.ErrInvalid, "services.orders.subsets.a.tags[0]: want at most 255 bytes, has 256",
		},
		{
			"a named subset", policytest.Of(topology.Service{Subsets: map[string]topology.Subset{"a": {Name: "b", Tags: []string{"x"}}}}),
			topology.ErrInvalid, `services.orders.subsets.a: has the name "b"; leave Subset.Name empty`,
		},
		{
			"an escape sequence", policytest.Of(topology.Service{Subsets: map[string]topology.Subset{"a": {Meta: map[string]string{"k": "\x1b[2J"}}}}),
			topology.ErrInvalid, "services.orders.subsets.a.meta.k: has a character that is not printable",
		},
		{
			"a negative timeout", &topology.Document{Defaults: topology.Defaults{Timeout: -1}},
			topology.ErrInvalid, "defaults.timeout: is -1ns, want no negative time",
		},
		{
			"a long slow start", policytest.Of(topology.Service{LB: topology.LoadBalancing{SlowStart: 25 * time.Hour}}),
			topology.ErrLimit, "services.orders.lb.slow_start: is 25h0m0s, want at most 24h0m0s",
		},
		{
			"no number for panic", policytest.Of(topology.Service{LB: topology.LoadBalancing{Panic: topology.Percent(math.NaN())}}),
			topology.ErrInvalid, "services.orders.lb.panic: is NaN%, want 0% (off) to 100%",
		},
		{
			"no number for ejections", policytest.Of(topology.Service{Outlier: &topology.Outlier{Max: topology.Percent(math.Inf(1))}}),
			topology.ErrInvalid, "services.orders.outlier.max: is +Inf%, want 0% (off) to 100%",
		},
		{
			"no number for a budget", &topology.Document{Defaults: topology.Defaults{Retry: topology.Retry{Budget: topology.Percent(math.NaN())}}},
			topology.ErrInvalid, "defaults.retry.budget: is NaN%, want more than 0% to 100%",
		},
		{
			"no number for a mirror", policytest.Of(topology.Service{Mirror: &topology.Mirror{Percent: topology.Percent(math.NaN())}}),
			topology.ErrInvalid, "services.orders.mirror.percent: is NaN%, want more than 0% to 100%",
		},
		{
			"shares that only add up below zero", policytest.Of(topology.Service{Routes: []topology.Route{{To: topology.Split{"any": 150, "service:b": -50}}}}),
			topology.ErrInvalid, "services.orders.routes[0].to.any: has a share of 150, want 0 to 100",
		},
		{
			"an unknown switch", policytest.Of(topology.Service{LB: topology.LoadBalancing{ZoneAware: 2}}),
			topology.ErrInvalid, "services.orders.lb.zone_aware: is 2, want On, Off or 0",
		},
		{
			"no errors", policytest.Of(topology.Service{Outlier: &topology.Outlier{Errors: -1}}),
			topology.ErrInvalid, "services.orders.outlier.errors: is -1, want 1 or more",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.doc.Validate()
			if err == nil || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.kind) {
				t.Errorf("got %v\nwant %v with %q", err, test.kind, test.want)
			}
			if _, cerr := policy.Compile(policy.Options{}, policy.Layer{Document: test.doc, Trusted: true}); cerr == nil {
				t.Error("Compile took it")
			}
		})
	}
}

func TestErrorNamesFileLineAndField(t *testing.T) {
	_, err := topology.Parse("topology.yaml", []byte("version: link/v1\nservices:\n  orders:\n    routes: [ { to: blue } ]\n"))
	var fe *topology.FieldError
	if !errors.As(err, &fe) {
		t.Fatalf("%v is not a FieldError", err)
	}
	if fe.Origin != "topology.yaml" || fe.Line != 4 || fe.Column != 21 || fe.Path != "services.orders.routes[0].to" {
		t.Errorf("got %+v", fe)
	}
	var code *topology.FieldError
	err = policytest.Of(topology.Service{Failover: []string{"x"}}).Validate()
	if !errors.As(err, &code) || code.Line != 0 || strings.HasPrefix(err.Error(), ":") {
		t.Errorf("a document made in Go has no lines: %v", err)
	}
}

func TestAllProblemsAreReported(t *testing.T) {
	routes := make([]topology.Route, 30)
	for i := range routes {
		routes[i] = topology.Route{Match: topology.Match{Method: fmt.Sprint("m", i)}, To: topology.Split{"blue": 100}}
	}
	err := policytest.Of(topology.Service{Routes: routes}).Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != limits.MaxProblems+1 {
		t.Fatalf("got %v", err)
	}
	if !strings.HasSuffix(err.Error(), "and 10 more problems") {
		t.Errorf("got %v", err)
	}
}

func TestNamesAreSuggestedOrListed(t *testing.T) {
	subsets := func(names ...string) map[string]topology.Subset {
		m := map[string]topology.Subset{}
		for _, name := range names {
			m[name] = topology.Subset{Tags: []string{"t"}}
		}
		return m
	}
	long := strings.Repeat("x", 100)
	for _, test := range []struct {
		word    string
		subsets map[string]topology.Subset
		want    string
	}{
		{"canray", subsets("canary", "stable"), `; did you mean "canary"?`},
		{"Stable", subsets("canary", "stable"), `; did you mean "stable"?`},
		{"production", subsets("canary"), "; there is only canary"},
		{"production", subsets("b", "a", "c"), "; there are a, b and c"},
		{"production", subsets("b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9", "a1"), "; there are a1, b1, b2, b3, b4, b5, b6, b7 and 2 more"},
		{long + "y", subsets(long), "; there is only " + long},
		{"xy", subsets("ab"), "; there is only ab"},
	} {
		err := policytest.Of(topology.Service{Subsets: test.subsets, Failover: []string{"subset:" + test.word}}).Validate()
		if err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%s: got %v, want ...%s", test.word, err, test.want)
		}
	}
}
