package topology_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
		p, err := topology.Compile(topology.Options{}, topology.Layer{Document: &topology.Document{Services: map[string]topology.Service{"orders": c.service}}, Trusted: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		plans := p.Service("orders")
		only := plans.Only()
		if (only != nil) != c.only || only != nil && only != plans.Route(&topology.Request{Kind: "method", Name: "get", Random: 1 << 63}) {
			t.Errorf("%s: %+v", name, only)
		}
	}
}

func TestFirstRuleThatMatchesHolds(t *testing.T) {
	p := compiled(t, service(`
routes:
  - { match: { method: orders/Export }, to: stable }
  - { match: { method: "orders/*", caller: [billing, web], meta: { x-canary: "1", x-team: a } }, to: canary }
  - { match: { topic: placed }, to: stable }
  - { match: { stage: "pack*" }, to: big }
  - { match: { meta: { empty: "" } }, to: big }
  - { match: { caller: batch }, to: canary }
`))
	team := topology.MetadataMap{"x-canary": "1", "x-team": "a"}
	for _, test := range []struct {
		name string
		r    topology.Request
		rule int
	}{
		{"the exact method", topology.Request{Kind: "method", Name: "orders/Export", Caller: "web", Meta: team}, 0},
		{"a longer method", topology.Request{Kind: "method", Name: "orders/ExportAll", Caller: "web", Meta: team}, 1},
		{"the prefix itself", topology.Request{Kind: "method", Name: "orders/", Caller: "billing", Meta: team}, 1},
		{"another caller", topology.Request{Kind: "method", Name: "orders/Get", Caller: "shop", Meta: team}, topology.NoRule},
		{"half the metadata", topology.Request{Kind: "method", Name: "orders/Get", Caller: "web", Meta: topology.MetadataMap{"x-canary": "1"}}, topology.NoRule},
		{"another value", topology.Request{Kind: "method", Name: "orders/Get", Caller: "web", Meta: topology.MetadataMap{"x-canary": "2", "x-team": "a"}}, topology.NoRule},
		{"no metadata", topology.Request{Kind: "method", Name: "orders/Get", Caller: "web"}, topology.NoRule},
		{"the topic", topology.Request{Kind: "topic", Name: "placed"}, 2},
		{"a method named like the topic", topology.Request{Kind: "method", Name: "placed"}, topology.NoRule},
		{"a stage", topology.Request{Kind: "stage", Name: "packing"}, 3},
		{"an empty value", topology.Request{Kind: "stage", Name: "x", Meta: topology.MetadataMap{"empty": ""}}, 4},
		{"a caller alone", topology.Request{Kind: "channel", Name: "x", Caller: "batch"}, 5},
		{"nothing", topology.Request{}, topology.NoRule},
	} {
		if got := p.Service("orders").Route(&test.r).Rule; got != test.rule {
			t.Errorf("%s: rule %d, want %d", test.name, got, test.rule)
		}
	}
}

// words formats levels as "service/subset/scope".
func words(levels []topology.Level) []string {
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
			onService := compiled(t, service("routes: [ { to: "+test.to+" } ]\nfailover: ["+test.failover+"]"))
			onRoute := compiled(t, service("routes: [ { to: "+test.to+", failover: ["+test.failover+"] } ]\nfailover: [zone, service:other]"))
			for _, p := range []*topology.Policy{onService, onRoute} {
				if diff := cmp.Diff(test.want, words(p.Service("orders").Route(&topology.Request{}).Levels)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestCallsThatNoRuleMatchesGoByTheServicesSettings(t *testing.T) {
	p := compiled(t, service("routes: [ { match: { method: a }, to: stable } ]\nfailover: [zone, subset:stable]\ntimeout: 3s"))
	plan := p.Service("orders").Route(&topology.Request{Kind: "method", Name: "b"})
	if plan.Rule != topology.NoRule || plan.Target != "any" || plan.Timeout != 3*time.Second {
		t.Errorf("got %+v", plan)
	}
	if diff := cmp.Diff([]string{"orders/*/zone", "orders/stable/any"}, words(plan.Levels)); diff != "" {
		t.Error(diff)
	}
}

func TestNoDocumentMeansEveryInstance(t *testing.T) {
	empty, err := topology.Compile(topology.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := topology.LoadBalancing{
		Policy: topology.P2C, ZoneAware: topology.On, Panic: topology.DefaultPanic,
		SlowStart: topology.DefaultSlowStart, Subset: topology.DefaultSubset,
	}
	outlier := topology.Outlier{Errors: 5, Interval: 10 * time.Second, Eject: 30 * time.Second, Max: 10}
	for name, p := range map[string]*topology.Policy{"nil": nil, "empty": empty} {
		plan := p.Service("orders").Route(&topology.Request{})
		if diff := cmp.Diff([]string{"orders/*/any"}, words(plan.Levels)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if plan.LB != want || plan.Outlier != outlier || plan.Timeout != 0 || plan.Retry.Attempts != 0 || plan.Mirror != nil || plan.Fault != nil {
			t.Errorf("%s: got %+v", name, plan)
		}
	}
}

func TestMoreSpecificSettingsHold(t *testing.T) {
	p := compiled(t, `
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
		plan := p.Service(test.service).Route(&topology.Request{Kind: "method", Name: test.method})
		if plan.Timeout != test.timeout || !cmp.Equal(plan.Retry, test.retry) || plan.LB.ZoneAware != test.zone {
			t.Errorf("%s %s: got %v %+v %v", test.service, test.method, plan.Timeout, plan.Retry, plan.LB.ZoneAware)
		}
	}
	plan := p.Service("orders").Route(&topology.Request{})
	if plan.LB.SlowStart != topology.Off || plan.LB.Subset != topology.DefaultSubset || plan.Outlier.Max != topology.Off || plan.Outlier.Errors != 9 || plan.Outlier.Eject != topology.DefaultEject {
		t.Errorf("got %+v %+v", plan.LB, plan.Outlier)
	}
}

func TestKeyOf(t *testing.T) {
	byMeta := compiled(t, service("lb: { policy: hash, key: meta:cart }")).Service("orders")
	byCall := compiled(t, service("lb: { policy: hash }")).Service("orders")
	p2c := compiled(t, service("lb: { policy: p2c }")).Service("orders")
	cart := topology.MetadataMap{"cart": "c1"}
	keyOf := func(s *topology.Plans, r topology.Request) string {
		key, ok := s.Route(&r).KeyOf(&r)
		if !ok && key != 0 {
			t.Errorf("no key, but %d", key)
		}
		return fmt.Sprint(key, ok)
	}
	c1 := keyOf(byMeta, topology.Request{Meta: cart})
	const none = "0 false"
	for _, test := range []struct {
		name      string
		got, want string
	}{
		{"the call's key goes first", keyOf(byMeta, topology.Request{Meta: topology.MetadataMap{"cart": "other"}, Key: "c1"}), c1},
		{"the call's key works with any policy", keyOf(p2c, topology.Request{Key: "c1"}), c1},
		{"and without a key in the policy", keyOf(byCall, topology.Request{Key: "c1"}), c1},
		{"p2c needs no key", keyOf(p2c, topology.Request{Meta: cart}), none},
		{"no metadata", keyOf(byMeta, topology.Request{}), none},
		{"other metadata", keyOf(byMeta, topology.Request{Meta: topology.MetadataMap{"x": "y"}}), none},
		{"an empty value is none", keyOf(byMeta, topology.Request{Meta: topology.MetadataMap{"cart": ""}}), none},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, test.got, test.want)
		}
	}
	if c1 == none || c1 == keyOf(byMeta, topology.Request{Key: "c2"}) {
		t.Errorf("the key of c1 is %s, as of c2", c1)
	}
}

func TestSubsetMatchesAllTagsAndMeta(t *testing.T) {
	s := &topology.Subset{Tags: []string{"v2", "eu"}, Meta: map[string]string{"size": "big"}}
	for _, test := range []struct {
		tags []string
		meta map[string]string
		want bool
	}{
		{[]string{"eu", "v2"}, map[string]string{"size": "big"}, true},
		{[]string{"a", "eu", "f", "v2", "z"}, map[string]string{"size": "big", "more": ""}, true},
		{[]string{"eu"}, map[string]string{"size": "big"}, false},
		{[]string{"eu", "v2"}, map[string]string{"size": "small"}, false},
		{[]string{"eu", "v2"}, nil, false},
		{nil, map[string]string{"size": "big"}, false},
	} {
		if got := s.Matches(test.tags, test.meta); got != test.want {
			t.Errorf("%v %v: %v", test.tags, test.meta, got)
		}
	}
	var every *topology.Subset
	if !every.Matches(nil, nil) {
		t.Error("every instance belongs to the nil subset")
	}
	if same := (&topology.Subset{Tags: []string{"eu", "v2", "eu"}, Meta: map[string]string{"size": "big"}}); !s.Equal(same) || s.Equal(nil) || !every.Equal(nil) {
		t.Error("Equal goes by what matches")
	}
	if s.Equal(&topology.Subset{Tags: []string{"eu"}, Meta: map[string]string{"size": "big"}}) {
		t.Error("a wider subset is Equal")
	}
}

func TestScopeNeedsToKnowBothPlaces(t *testing.T) {
	at := topology.Locality{Zone: "a", Region: "eu", Datacenter: "dc1"}
	for _, test := range []struct {
		scope topology.Scope
		at    topology.Locality
		of    topology.Locality
		want  bool
	}{
		{topology.Anywhere, topology.Locality{}, topology.Locality{}, true},
		{topology.SameZone, at, topology.Locality{Zone: "a"}, true},
		{topology.SameZone, at, topology.Locality{Zone: "b", Region: "eu"}, false},
		{topology.SameZone, topology.Locality{}, topology.Locality{}, false},
		{topology.SameRegion, at, topology.Locality{Zone: "b", Region: "eu"}, true},
		{topology.SameRegion, topology.Locality{}, topology.Locality{}, false},
		{topology.SameDatacenter, at, topology.Locality{Datacenter: "dc1"}, true},
		{topology.SameDatacenter, at, topology.Locality{Region: "eu"}, false},
		{topology.SameDatacenter, topology.Locality{}, topology.Locality{}, false},
	} {
		if got := test.scope.Contains(test.at, test.of); got != test.want {
			t.Errorf("%v of %+v and %+v: %v", test.scope, test.at, test.of, got)
		}
	}
}

func TestLevelTakesWhatItCanCarry(t *testing.T) {
	zone, all := topology.Level{Scope: topology.SameZone}, topology.Level{}
	for _, test := range []struct {
		level            topology.Level
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

func TestCodesAreGRPCs(t *testing.T) {
	for name, want := range map[string]uint32{"canceled": 1, "resource_exhausted": 8, "unavailable": 14, "unauthenticated": 16} {
		if got, ok := topology.CodeNumber(name); !ok || got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	if got, ok := topology.CodeNumber("ok"); ok || got != 0 {
		t.Errorf("ok is %d", got)
	}
}
