package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/topology"
)

func TestOnlyIsThePlanOfAllCalls(t *testing.T) {
	for name, c := range map[string]struct {
		service topology.Service
		only    bool
	}{
		"nothing said":  {topology.Service{}, true},
		"a failover":    {topology.Service{Failover: []string{"zone", "any"}}, true},
		"one route":     {topology.Service{Routes: []topology.Route{{Timeout: time.Second}}}, true},
		"a match":       {topology.Service{Routes: []topology.Route{{Match: topology.Match{Method: "get"}, Timeout: time.Second}}}, false},
		"a split":       {topology.Service{Subsets: map[string]topology.Subset{"a": {Tags: []string{"a"}}}, Routes: []topology.Route{{To: topology.Split{"a": 50, "any": 50}}}}, false},
		"another route": {topology.Service{Routes: []topology.Route{{Match: topology.Match{Method: "get"}}, {Timeout: time.Second}}}, false},
	} {
		p, err := policy.Compile(policy.Options{}, policy.Layer{Document: &topology.Document{Services: map[string]topology.Service{"orders": c.service}}, Trusted: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		plans := p.Service("orders")
		only := plans.Only()
		if (only != nil) != c.only || only != nil && only != plans.Route(&policy.Request{Kind: "method", Name: "get", Random: 1 << 63}) {
			t.Errorf("%s: %+v", name, only)
		}
	}
}

func TestFirstRuleThatMatchesHolds(t *testing.T) {
	p := policytest.Compiled(t, policytest.Service(`
routes:
  - { match: { method: orders/Export }, to: stable }
  - { match: { method: "orders/*", caller: [billing, web], meta: { x-canary: "1", x-team: a } }, to: canary }
  - { match: { topic: placed }, to: stable }
  - { match: { stage: "pack*" }, to: big }
  - { match: { meta: { empty: "" } }, to: big }
  - { match: { caller: batch }, to: canary }
`))
	team := policy.MetadataMap{"x-canary": "1", "x-team": "a"}
	for _, test := range []struct {
		name string
		r    policy.Request
		rule int
	}{
		{"the exact method", policy.Request{Kind: "method", Name: "orders/Export", Caller: "web", Meta: team}, 0},
		{"a longer method", policy.Request{Kind: "method", Name: "orders/ExportAll", Caller: "web", Meta: team}, 1},
		{"the prefix itself", policy.Request{Kind: "method", Name: "orders/", Caller: "billing", Meta: team}, 1},
		{"another caller", policy.Request{Kind: "method", Name: "orders/Get", Caller: "shop", Meta: team}, policy.NoRule},
		{"half the metadata", policy.Request{Kind: "method", Name: "orders/Get", Caller: "web", Meta: policy.MetadataMap{"x-canary": "1"}}, policy.NoRule},
		{"another value", policy.Request{Kind: "method", Name: "orders/Get", Caller: "web", Meta: policy.MetadataMap{"x-canary": "2", "x-team": "a"}}, policy.NoRule},
		{"no metadata", policy.Request{Kind: "method", Name: "orders/Get", Caller: "web"}, policy.NoRule},
		{"the topic", policy.Request{Kind: "topic", Name: "placed"}, 2},
		{"a method named like the topic", policy.Request{Kind: "method", Name: "placed"}, policy.NoRule},
		{"a stage", policy.Request{Kind: "stage", Name: "packing"}, 3},
		{"an empty value", policy.Request{Kind: "stage", Name: "x", Meta: policy.MetadataMap{"empty": ""}}, 4},
		{"a caller alone", policy.Request{Kind: "channel", Name: "x", Caller: "batch"}, 5},
		{"nothing", policy.Request{}, policy.NoRule},
	} {
		if got := p.Service("orders").Route(&test.r).Rule; got != test.rule {
			t.Errorf("%s: rule %d, want %d", test.name, got, test.rule)
		}
	}
}

// words formats levels as "service/subset/scope".
func words(levels []policy.Level) []string {
	list := []string{}
	for _, l := range levels {
		subset := "*"
		if l.Subset != nil {
			subset = l.Subset.Name
		}
		list = append(list, fmt.Sprintf("%s/%s/%v", l.Service, subset, l.Scope))
	}
	return list
}

func TestLevelsFollowTheList(t *testing.T) {
	for _, test := range []struct {
		to, failover string
		want         []string
	}{
		{"stable", "", []string{"orders/stable/any"}},
		{"any", "", []string{"orders/*/any"}},
		{"stable", "zone", []string{"orders/stable/zone"}},
		{"stable", "zone, region, dc, any", []string{"orders/stable/zone", "orders/stable/region", "orders/stable/dc", "orders/stable/any"}},
		{"any", "dc, zone", []string{"orders/*/dc", "orders/*/zone"}},
		{"canary", "zone, region, subset:stable, service:dr", []string{"orders/canary/zone", "orders/canary/region", "orders/stable/any", "dr/*/any"}},
		{"stable", "subset:stable, service:dr", []string{"orders/stable/any", "dr/*/any"}},
		{"stable", "subset:big, subset:canary", []string{"orders/stable/any", "orders/big/any", "orders/canary/any"}},
		{"stable", "any, service:dr", []string{"orders/stable/any", "dr/*/any"}},
		{"stable", "service:dr", []string{"orders/stable/any", "dr/*/any"}},
		{"service:next", "", []string{"next/*/any"}},
		{"service:next", "zone, any, service:dr, subset:stable", []string{"next/*/any", "dr/*/any", "orders/stable/any"}},
		{"service:next", "service:next", []string{"next/*/any"}},
	} {
		t.Run(test.to+"["+test.failover+"]", func(t *testing.T) {
			onService := policytest.Compiled(t, policytest.Service("routes: [ { to: "+test.to+" } ]\nfailover: ["+test.failover+"]"))
			onRoute := policytest.Compiled(t, policytest.Service("routes: [ { to: "+test.to+", failover: ["+test.failover+"] } ]\nfailover: [zone, service:other]"))
			for _, p := range []*policy.Policy{onService, onRoute} {
				if diff := cmp.Diff(test.want, words(p.Service("orders").Route(&policy.Request{}).Levels)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestCallsThatNoRuleMatchesGoByTheServicesSettings(t *testing.T) {
	p := policytest.Compiled(t, policytest.Service("routes: [ { match: { method: a }, to: stable } ]\nfailover: [zone, subset:stable]\ntimeout: 3s"))
	plan := p.Service("orders").Route(&policy.Request{Kind: "method", Name: "b"})
	if plan.Rule != policy.NoRule || plan.Target != "any" || plan.Timeout != 3*time.Second {
		t.Errorf("got %+v", plan)
	}
	if diff := cmp.Diff([]string{"orders/*/zone", "orders/stable/any"}, words(plan.Levels)); diff != "" {
		t.Error(diff)
	}
}

func TestNoDocumentMeansEveryInstance(t *testing.T) {
	empty, err := policy.Compile(policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := topology.LoadBalancing{
		Policy: topology.P2C, ZoneAware: topology.On, Panic: limits.DefaultPanic,
		SlowStart: limits.DefaultSlowStart, Subset: limits.DefaultSubset,
	}
	outlier := topology.Outlier{Errors: 5, Interval: 10 * time.Second, Eject: 30 * time.Second, Max: 10}
	for name, p := range map[string]*policy.Policy{"nil": nil, "empty": empty} {
		plan := p.Service("orders").Route(&policy.Request{})
		if diff := cmp.Diff([]string{"orders/*/any"}, words(plan.Levels)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if plan.LB != want || plan.Outlier != outlier || plan.Timeout != 0 || plan.Retry.Attempts != 0 || plan.Mirror != nil || plan.Fault != nil {
			t.Errorf("%s: got %+v", name, plan)
		}
	}
}

func TestMoreSpecificSettingsHold(t *testing.T) {
	p := policytest.Compiled(t, `
version: link/v1
services:
  orders:
    routes:
      - { match: { method: a }, timeout: 1s, retry: { attempts: 1 } }
      - { match: { method: b }, retry: { on: [resource_exhausted] } }
    timeout: 2s
    retry: { attempts: 4 }
    lb: { zone_aware: true, slow_start: 0s }
    outlier: { max: 0, errors: 9 }
defaults: { timeout: 3s, retry: { attempts: 2, budget: 30%, on: [unavailable] }, zone_aware: false }
`)
	for _, test := range []struct {
		service, method string
		timeout         time.Duration
		retry           topology.Retry
		zone            topology.Switch
	}{
		{"orders", "a", time.Second, topology.Retry{Attempts: 1, Budget: 30, On: []string{"unavailable"}}, topology.On},
		{"orders", "b", 2 * time.Second, topology.Retry{Attempts: 4, Budget: 30, On: []string{"resource_exhausted"}}, topology.On},
		{"other", "a", 3 * time.Second, topology.Retry{Attempts: 2, Budget: 30, On: []string{"unavailable"}}, topology.Off},
	} {
		plan := p.Service(test.service).Route(&policy.Request{Kind: "method", Name: test.method})
		if plan.Timeout != test.timeout || !cmp.Equal(plan.Retry, test.retry) || plan.LB.ZoneAware != test.zone {
			t.Errorf("%s %s: got %v %+v %v", test.service, test.method, plan.Timeout, plan.Retry, plan.LB.ZoneAware)
		}
	}
	plan := p.Service("orders").Route(&policy.Request{})
	if plan.LB.SlowStart != topology.Off || plan.LB.Subset != limits.DefaultSubset || plan.Outlier.Max != topology.Off || plan.Outlier.Errors != 9 || plan.Outlier.Eject != limits.DefaultEject {
		t.Errorf("got %+v %+v", plan.LB, plan.Outlier)
	}
}

func TestKeyOf(t *testing.T) {
	byMeta := policytest.Compiled(t, policytest.Service("lb: { policy: hash, key: meta:cart }")).Service("orders")
	byCall := policytest.Compiled(t, policytest.Service("lb: { policy: hash }")).Service("orders")
	p2c := policytest.Compiled(t, policytest.Service("lb: { policy: p2c }")).Service("orders")
	cart := policy.MetadataMap{"cart": "c1"}
	keyOf := func(s *policy.Plans, r policy.Request) string {
		key, ok := s.Route(&r).KeyOf(&r)
		if !ok && key != 0 {
			t.Errorf("no key, but %d", key)
		}
		return fmt.Sprint(key, ok)
	}
	c1 := keyOf(byMeta, policy.Request{Meta: cart})
	const none = "0 false"
	for _, test := range []struct {
		name      string
		got, want string
	}{
		{"the call's key goes first", keyOf(byMeta, policy.Request{Meta: policy.MetadataMap{"cart": "other"}, Key: "c1"}), c1},
		{"the call's key works with any policy", keyOf(p2c, policy.Request{Key: "c1"}), c1},
		{"and without a key in the policy", keyOf(byCall, policy.Request{Key: "c1"}), c1},
		{"p2c needs no key", keyOf(p2c, policy.Request{Meta: cart}), none},
		{"no metadata", keyOf(byMeta, policy.Request{}), none},
		{"other metadata", keyOf(byMeta, policy.Request{Meta: policy.MetadataMap{"x": "y"}}), none},
		{"an empty value is none", keyOf(byMeta, policy.Request{Meta: policy.MetadataMap{"cart": ""}}), none},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, test.got, test.want)
		}
	}
	if c1 == none || c1 == keyOf(byMeta, policy.Request{Key: "c2"}) {
		t.Errorf("the key of c1 is %s, as of c2", c1)
	}
}

func TestScopeNeedsToKnowBothPlaces(t *testing.T) {
	at := policy.Locality{Zone: "a", Region: "eu", Datacenter: "dc1"}
	for _, test := range []struct {
		scope policy.Scope
		at    policy.Locality
		of    policy.Locality
		want  bool
	}{
		{policy.Anywhere, policy.Locality{}, policy.Locality{}, true},
		{policy.SameZone, at, policy.Locality{Zone: "a"}, true},
		{policy.SameZone, at, policy.Locality{Zone: "b", Region: "eu"}, false},
		{policy.SameZone, policy.Locality{}, policy.Locality{}, false},
		{policy.SameRegion, at, policy.Locality{Zone: "b", Region: "eu"}, true},
		{policy.SameRegion, policy.Locality{}, policy.Locality{}, false},
		{policy.SameDatacenter, at, policy.Locality{Datacenter: "dc1"}, true},
		{policy.SameDatacenter, at, policy.Locality{Region: "eu"}, false},
		{policy.SameDatacenter, policy.Locality{}, policy.Locality{}, false},
	} {
		if got := test.scope.Contains(test.at, test.of); got != test.want {
			t.Errorf("%v of %+v and %+v: %v", test.scope, test.at, test.of, got)
		}
	}
}

func TestLevelTakesWhatItCanCarry(t *testing.T) {
	zone, all := policy.Level{Scope: policy.SameZone}, policy.Level{}
	for _, test := range []struct {
		level            policy.Level
		available, total int
		want             float64
	}{
		{zone, 10, 10, 1},
		// 1.4 times 8 of 10 is 1.12, which is capped.
		{zone, 8, 10, 1},
		{zone, 5, 10, 0.7},
		{zone, 1, 10, 0.14},
		{zone, 0, 10, 0},
		{zone, 0, 0, 0},
		{all, 1, 10, 1},
		{all, 0, 10, 0},
	} {
		if got := test.level.Takes(test.available, test.total); got < test.want-1e-9 || got > test.want+1e-9 {
			t.Errorf("%v, %d of %d: %v, want %v", test.level.Scope, test.available, test.total, got, test.want)
		}
	}
}
