package policy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/topology"
)

func TestLaterLayersOverrideWholeServices(t *testing.T) {
	file := policytest.Parsed(t, `
version: link/v1
services:
  orders: { timeout: 1s, failover: [zone] }
  billing: { timeout: 2s }
defaults: { timeout: 9s, retry: { attempts: 2, budget: 10% }, zone_aware: false }
`)
	code := &topology.Document{
		Services: map[string]topology.Service{"orders": {Retry: topology.Retry{Attempts: 4}}},
		Defaults: topology.Defaults{Timeout: 8 * time.Second, Retry: topology.Retry{Attempts: 3}},
	}
	p, err := policy.Compile(policy.Options{},
		policy.Layer{Origin: "file", Document: file, Trusted: true},
		policy.Layer{Origin: "consul"},
		policy.Layer{Origin: "code", Document: code, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	orders := p.Service("orders").Route(&policy.Request{})
	if orders.Timeout != 8*time.Second || orders.Levels[0].Scope != policy.Anywhere {
		t.Errorf("orders kept timeout %v and levels %v of the file", orders.Timeout, orders.Levels)
	}
	if want := (topology.Retry{Attempts: 4, Budget: 10}); !cmp.Equal(orders.Retry, want) {
		t.Errorf("orders has %+v, want %+v", orders.Retry, want)
	}
	if got := p.Service("billing").Route(&policy.Request{}).Timeout; got != 2*time.Second {
		t.Errorf("billing has timeout %v, want that of the file", got)
	}
	other := p.Service("other").Route(&policy.Request{})
	if want := (topology.Retry{Attempts: 3, Budget: 10}); other.Timeout != 8*time.Second || !cmp.Equal(other.Retry, want) || other.LB.ZoneAware != topology.Off {
		t.Errorf("a service without an entry has %v, %+v, zone aware %v; want defaults merged field by field", other.Timeout, other.Retry, other.LB.ZoneAware)
	}
}

func TestCompileRefuses(t *testing.T) {
	redirect := policytest.Parsed(t, `
version: link/v1
services:
  orders:
    routes: [ { match: { method: a }, to: { any: 50, service:evil: 50 } } ]
    failover: [service:dr]
    mirror: { to: service:shadow, percent: 1 }
`)
	faulty := policytest.Parsed(t, "version: link/v1\nservices:\n  orders: { fault: { abort: unavailable, percent: 1 } }\n")
	defaults := policytest.Parsed(t, "version: link/v1\ndefaults: { timeout: 1s }\n")
	for _, test := range []struct {
		name string
		opts policy.Options
		last policy.Layer
		// want is the error, or "" if the layer is accepted.
		want string
	}{
		{"a redirect from a stranger", policy.Options{}, policy.Layer{Document: redirect}, `topology.yaml:5:39: services.orders.routes[0].to: sends calls of orders to service evil, and others can write this document; add "evil" to AllowRedirect in this process to allow it
topology.yaml:6:16: services.orders.failover[0]: sends calls of orders to service dr, and others can write this document; add "dr" to AllowRedirect in this process to allow it
topology.yaml:7:19: services.orders.mirror.to: sends calls of orders to service shadow, and others can write this document; add "shadow" to AllowRedirect in this process to allow it`},
		{"half of it allowed", policy.Options{AllowRedirect: []string{"dr", "evil"}}, policy.Layer{Document: redirect}, `topology.yaml:7:19: services.orders.mirror.to: sends calls of orders to service shadow, and others can write this document; add "shadow" to AllowRedirect in this process to allow it`},
		{"all of it allowed", policy.Options{AllowRedirect: []string{"dr", "evil", "shadow"}}, policy.Layer{Document: redirect}, ""},
		{"a redirect that is trusted", policy.Options{}, policy.Layer{Document: redirect, Trusted: true}, ""},
		{"faults", policy.Options{}, policy.Layer{Document: faulty, Trusted: true}, "topology.yaml:3:13: services.orders.fault: this process does not let calls be broken on purpose; set link.Config.Routing.AllowFaults to allow it"},
		{"faults allowed", policy.Options{AllowFaults: true}, policy.Layer{Document: faulty}, ""},
		{"another's service", policy.Options{AllowFaults: true}, policy.Layer{Document: faulty, Only: "billing"}, "topology.yaml:3:3: services.orders: this document is about billing only"},
		{"its own service", policy.Options{AllowFaults: true}, policy.Layer{Document: faulty, Only: "orders"}, ""},
		{"defaults for all", policy.Options{}, policy.Layer{Document: defaults, Only: "orders"}, "topology.yaml:2:1: defaults: this document is about orders only; defaults hold for every service"},
		{"code without lines", policy.Options{}, policy.Layer{Origin: "code", Document: policytest.Of(topology.Service{Fault: &topology.Fault{Delay: 1, Percent: 1}})}, "code: services.orders.fault: this process does not let calls be broken on purpose; set link.Config.Routing.AllowFaults to allow it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := policy.Compile(test.opts, policy.Layer{Document: &topology.Document{}}, test.last)
			switch {
			case test.want == "" && (err != nil || p == nil):
				t.Errorf("refused: %v", err)
			case test.want != "" && (err == nil || err.Error() != test.want):
				t.Errorf("got  %v\nwant %s", err, test.want)
			case test.want != "" && (!errors.Is(err, topology.ErrRefused) || p != nil):
				t.Errorf("got policy %v and %v, want none and ErrRefused", p, err)
			}
		})
	}
}

func TestCirclesAcrossLayersAreFound(t *testing.T) {
	a := policytest.Parsed(t, "version: link/v1\nservices:\n  a: { failover: [service:b] }\n")
	b := policytest.Parsed(t, "version: link/v1\nservices:\n  b: { routes: [ { to: service:a } ] }\n")
	_, err := policy.Compile(policy.Options{}, policy.Layer{Document: a, Trusted: true}, policy.Layer{Document: b, Trusted: true})
	if err == nil || !strings.Contains(err.Error(), "topology.yaml:3:24: services.b.routes[0].to: calls would go in a circle: a -> b -> a") {
		t.Errorf("got %v", err)
	}
	mirrored := policytest.Parsed(t, "version: link/v1\nservices:\n  b: { mirror: { to: service:a, percent: 1 } }\n")
	if _, err := policy.Compile(policy.Options{}, policy.Layer{Document: a, Trusted: true}, policy.Layer{Document: mirrored, Trusted: true}); err != nil {
		t.Errorf("a mirror makes no circle: %v", err)
	}
}

func TestDepthEndsAtTheBound(t *testing.T) {
	for _, test := range []struct {
		services int
		ok       bool
	}{{limits.MaxDepth, true}, {limits.MaxDepth + 1, false}} {
		doc := &topology.Document{Services: map[string]topology.Service{}}
		for i := range test.services {
			doc.Services[fmt.Sprint("s", i)] = topology.Service{Failover: []string{fmt.Sprint("service:s", i+1)}}
		}
		if err := doc.Validate(); (err == nil) != test.ok || err != nil && !errors.Is(err, topology.ErrLimit) {
			t.Errorf("%d services behind another: %v", test.services, err)
		}
	}
}

func TestServicesListsAllThatCallsMayReach(t *testing.T) {
	p := policytest.Compiled(t, `
version: link/v1
services:
  orders:
    routes:
      - { match: { method: a }, to: { any: 1, service:next: 99 } }
      - { match: { method: b }, failover: [service:special] }
    failover: [zone, service:dr]
    mirror: { to: { service:shadow: 50, any: 50 }, percent: 1 }
  dr: { failover: [service:far] }
  shadow: { mirror: { to: service:deeper, percent: 1 } }
  unrelated: { failover: [service:orders] }
`)
	got := p.Services("orders")
	if got[0] != "orders" {
		t.Errorf("%v does not begin with itself", got)
	}
	want := []string{"deeper", "dr", "far", "next", "orders", "shadow", "special"}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(got))); diff != "" {
		t.Error(diff)
	}
	if got := p.Services("stranger"); !slices.Equal(got, []string{"stranger"}) {
		t.Errorf("a service without an entry: %v", got)
	}
	var none *policy.Policy
	if got := none.Services("orders"); !slices.Equal(got, []string{"orders"}) {
		t.Errorf("no policy: %v", got)
	}
}

func TestDocumentsMayChangeAfterCompile(t *testing.T) {
	doc := policytest.Parsed(t, policytest.Full)
	p, before := policytest.CompiledDocument(t, doc), policytest.Compiled(t, policytest.Full)
	orders := doc.Services["orders"]
	orders.Subsets["stable"].Tags[0] = "other"
	orders.Subsets["canary"].Meta["size"] = "other"
	orders.Routes[0].Match.Meta["x-canary"] = "other"
	orders.Routes[1].Match.Caller[0] = "other"
	orders.Routes[4].To["stable"] = 1
	orders.Mirror.To["any"] = 7
	orders.Fault.Abort = "internal"
	orders.Outlier.Errors = 99
	doc.Defaults.Retry.On[0] = "other"
	if diff := cmp.Diff(before, p, policytest.ExportAll()); diff != "" {
		t.Errorf("the policy changed with the document:\n%s", diff)
	}
}
