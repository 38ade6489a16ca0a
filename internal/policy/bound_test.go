package policy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/topology"
)

const greedy = `version: link/v1
services:
  orders:
    timeout: 24h
    retry: { attempts: 5, budget: 100% }
    outlier: { errors: 1, eject: 24h, max: 100% }
    lb: { panic: 0, slow_start: 24h, subset: 1 }
    mirror: { percent: 100 }
    routes:
      - { match: { method: get }, timeout: 1ms, retry: { attempts: 4 } }
defaults: { timeout: 10m, retry: { budget: 50% } }
`

// TestALayerThatIsNotTrustedGetsWhatIsBearable compiles a document that makes calls fail, hang and multiply. It expects
// the values as written from a trusted layer, and bounded values from a layer that others can write.
func TestALayerThatIsNotTrustedGetsWhatIsBearable(t *testing.T) { // SEC-354
	doc, err := topology.Parse("kv", []byte(greedy))
	if err != nil {
		t.Fatal(err)
	}
	get := &policy.Request{Kind: "method", Name: "get"}
	other := &policy.Request{Kind: "method", Name: "list", Random: 1}
	for _, tt := range []struct {
		trusted                  bool
		timeout, ofGet           time.Duration
		attempts, attemptsGet    int
		budget                   topology.Percent
		errors                   int
		eject, slowStart         time.Duration
		ejected, panicking       topology.Percent
		subset, bounded          int
		mirrorsUnsafe, elsewhere bool
	}{
		{true, 24 * time.Hour, time.Millisecond, 5, 4, 100, 1, 24 * time.Hour, 24 * time.Hour, 100, topology.Off, 1, 0, true, true},
		{false, time.Minute, 100 * time.Millisecond, 3, 3, 20, 2, 5 * time.Minute, 5 * time.Minute, 50, 10, 2, 14, false, false},
	} {
		p, err := policy.Compile(policy.Options{}, policy.Layer{Origin: "kv", Document: doc, Trusted: tt.trusted})
		if err != nil {
			t.Fatal(err)
		}
		plans := p.Service("orders")
		plan, first := plans.Route(other), plans.Route(get)
		if plan.Timeout != tt.timeout || first.Timeout != tt.ofGet {
			t.Errorf("trusted %v: timeouts %v and %v, want %v and %v", tt.trusted, plan.Timeout, first.Timeout, tt.timeout, tt.ofGet)
		}
		if plan.Retry.Attempts != tt.attempts || first.Retry.Attempts != tt.attemptsGet || plan.Retry.Budget != tt.budget {
			t.Errorf("trusted %v: retries %+v and %+v", tt.trusted, plan.Retry, first.Retry)
		}
		if o := plan.Outlier; o.Errors != tt.errors || o.Eject != tt.eject || o.Max != tt.ejected {
			t.Errorf("trusted %v: outlier %+v", tt.trusted, o)
		}
		if lb := plan.LB; lb.Panic != tt.panicking || lb.SlowStart != tt.slowStart || lb.Subset != tt.subset {
			t.Errorf("trusted %v: balancing %+v", tt.trusted, lb)
		}
		if copied := plan.Mirrored(other) != nil; copied != tt.mirrorsUnsafe {
			t.Errorf("trusted %v: a call that changes something is copied: %v", tt.trusted, copied)
		}
		if plan.Mirrored(&policy.Request{Kind: "method", Name: "list", Random: 1, ReadOnly: true}) == nil {
			t.Errorf("trusted %v: a call that changes nothing is not copied", tt.trusted)
		}
		if unwritten := p.Service("users").Route(other); (unwritten.Timeout == 10*time.Minute) != tt.elsewhere {
			t.Errorf("trusted %v: the timeout of services without an entry is %v", tt.trusted, unwritten.Timeout)
		}
		notes := p.Bounded()
		if len(notes) != tt.bounded {
			t.Errorf("trusted %v: %d bounds were said, want %d:\n%v", tt.trusted, len(notes), tt.bounded, errors.Join(notes...))
		}
		for _, note := range notes {
			if !errors.Is(note, policy.ErrBounded) || !strings.HasPrefix(note.Error(), "kv:") || !strings.HasSuffix(note.Error(), ", because others can write this document") {
				t.Errorf("a bound is told as %q", note)
			}
		}
	}
	if doc.Services["orders"].Timeout != 24*time.Hour || doc.Services["orders"].Routes[0].Timeout != time.Millisecond || doc.Services["orders"].Outlier.Errors != 1 {
		t.Error("the document was changed")
	}
}

func TestALayerThatIsNotTrustedAndAsksForLittleGetsIt(t *testing.T) {
	doc, err := topology.Parse("kv", []byte(`version: link/v1
services:
  orders:
    timeout: 200ms
    retry: { attempts: 2, budget: 10% }
    outlier: { errors: 3, eject: 1m, max: 20% }
    lb: { panic: 30%, slow_start: 1m, subset: 0 }
`))
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := policy.Compile(policy.Options{}, policy.Layer{Document: doc, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(policy.Options{}, policy.Layer{Document: doc})
	if err != nil || len(p.Bounded()) > 0 {
		t.Fatal(err, p.Bounded())
	}
	got, want := p.Service("orders").Only(), trusted.Service("orders").Only()
	if got.Timeout != want.Timeout || got.LB != want.LB || got.Outlier != want.Outlier || got.Retry.Attempts != 2 || got.Retry.Budget != 10 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestALayerThatIsNotTrustedSwitchesNoProtectionOff checks that a document that others can write cannot switch off
// retries, the ejection of outliers or the panic threshold, which keep calls from failing.
func TestALayerThatIsNotTrustedSwitchesNoProtectionOff(t *testing.T) { // SEC-378
	doc, err := topology.Parse("kv", []byte(`version: link/v1
services:
  orders:
    retry: { attempts: 1, budget: 0.01%, on: [resource_exhausted] }
    outlier: { errors: 1000000, interval: 1ms, eject: 1ms, max: 0 }
    lb: { panic: 100% }
    routes: [{ match: { method: get }, retry: { attempts: 1 } }]
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(policy.Options{}, policy.Layer{Origin: "kv", Document: doc})
	if err != nil {
		t.Fatal(err)
	}
	plan := p.Service("orders").Route(&policy.Request{Kind: "method", Name: "list"})
	get := p.Service("orders").Route(&policy.Request{Kind: "method", Name: "get"})
	if r := plan.Retry; r.Attempts != 2 || r.Budget != 5 || !slices.Equal(r.On, []string{"resource_exhausted", "unavailable"}) || get.Retry.Attempts != 2 {
		t.Errorf("retries %+v, of the route %+v", r, get.Retry)
	}
	if o := plan.Outlier; o.Errors != 100 || o.Interval != time.Second || o.Eject != time.Second || o.Max != 10 {
		t.Errorf("outlier %+v", o)
	}
	if plan.LB.Panic != 50 {
		t.Errorf("balancing %+v", plan.LB)
	}
	if notes := p.Bounded(); len(notes) != 9 {
		t.Errorf("%d bounds were said, want 9:\n%v", len(notes), errors.Join(notes...))
	}
	if on := doc.Services["orders"].Retry.On; len(on) != 1 || doc.Services["orders"].Outlier.Max != topology.Off {
		t.Error("the document was changed")
	}
}

// TestEveryBoundOfALayerThatIsNotTrusted asks for exactly each bound, which is granted without a note, and for one step
// beyond it, which is reduced to the bound with a note. It covers all constants Most… and Least….
func TestEveryBoundOfALayerThatIsNotTrusted(t *testing.T) { // SEC-354, SEC-378
	const step = time.Nanosecond
	onService := func(s topology.Service) *topology.Document { return policytest.Of(s) }
	onRoute := func(r topology.Route) *topology.Document {
		return policytest.Of(topology.Service{Routes: []topology.Route{r}})
	}
	onDefaults := func(d topology.Defaults) *topology.Document { return &topology.Document{Defaults: d} }
	timeout := func(p *policy.Plan) int64 { return int64(p.Timeout) }
	attempts := func(p *policy.Plan) int64 { return int64(p.Retry.Attempts) }
	budget := func(p *policy.Plan) int64 { return int64(p.Retry.Budget) }
	covered := map[string]bool{}
	for _, test := range []struct {
		bound, path string
		// holds is the bound, and more the next value beyond it.
		holds, more int64
		asks        func(v int64) *topology.Document
		gets        func(p *policy.Plan) int64
	}{
		{"LeastTimeout", "services.orders.timeout", int64(policy.LeastTimeout), int64(policy.LeastTimeout - step), func(v int64) *topology.Document {
			return onService(topology.Service{Timeout: time.Duration(v)})
		}, timeout},
		{"MostTimeout", "services.orders.timeout", int64(policy.MostTimeout), int64(policy.MostTimeout + step), func(v int64) *topology.Document {
			return onService(topology.Service{Timeout: time.Duration(v)})
		}, timeout},
		{"LeastTimeout", "services.orders.routes[0].timeout", int64(policy.LeastTimeout), int64(policy.LeastTimeout - step), func(v int64) *topology.Document {
			return onRoute(topology.Route{Timeout: time.Duration(v)})
		}, timeout},
		{"MostTimeout", "services.orders.routes[0].timeout", int64(policy.MostTimeout), int64(policy.MostTimeout + step), func(v int64) *topology.Document {
			return onRoute(topology.Route{Timeout: time.Duration(v)})
		}, timeout},
		{"LeastTimeout", "defaults.timeout", int64(policy.LeastTimeout), int64(policy.LeastTimeout - step), func(v int64) *topology.Document {
			return onDefaults(topology.Defaults{Timeout: time.Duration(v)})
		}, timeout},
		{"MostTimeout", "defaults.timeout", int64(policy.MostTimeout), int64(policy.MostTimeout + step), func(v int64) *topology.Document {
			return onDefaults(topology.Defaults{Timeout: time.Duration(v)})
		}, timeout},
		{"LeastRetries", "services.orders.retry.attempts", policy.LeastRetries, policy.LeastRetries - 1, func(v int64) *topology.Document {
			return onService(topology.Service{Retry: topology.Retry{Attempts: int(v)}})
		}, attempts},
		{"MostRetries", "services.orders.retry.attempts", policy.MostRetries, policy.MostRetries + 1, func(v int64) *topology.Document {
			return onService(topology.Service{Retry: topology.Retry{Attempts: int(v)}})
		}, attempts},
		{"MostRetries", "services.orders.routes[0].retry.attempts", policy.MostRetries, policy.MostRetries + 1, func(v int64) *topology.Document {
			return onRoute(topology.Route{Retry: topology.Retry{Attempts: int(v)}})
		}, attempts},
		{"MostRetries", "defaults.retry.attempts", policy.MostRetries, policy.MostRetries + 1, func(v int64) *topology.Document {
			return onDefaults(topology.Defaults{Retry: topology.Retry{Attempts: int(v)}})
		}, attempts},
		{"LeastBudget", "services.orders.retry.budget", int64(policy.LeastBudget), int64(policy.LeastBudget - 1), func(v int64) *topology.Document {
			return onService(topology.Service{Retry: topology.Retry{Budget: topology.Percent(v)}})
		}, budget},
		{"MostBudget", "services.orders.retry.budget", int64(policy.MostBudget), int64(policy.MostBudget + 1), func(v int64) *topology.Document {
			return onService(topology.Service{Retry: topology.Retry{Budget: topology.Percent(v)}})
		}, budget},
		{"LeastErrors", "services.orders.outlier.errors", policy.LeastErrors, policy.LeastErrors - 1, func(v int64) *topology.Document {
			return onService(topology.Service{Outlier: &topology.Outlier{Errors: int(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.Outlier.Errors) }},
		{"MostErrors", "services.orders.outlier.errors", policy.MostErrors, policy.MostErrors + 1, func(v int64) *topology.Document {
			return onService(topology.Service{Outlier: &topology.Outlier{Errors: int(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.Outlier.Errors) }},
		{"LeastInterval", "services.orders.outlier.interval", int64(policy.LeastInterval), int64(policy.LeastInterval - step), func(v int64) *topology.Document {
			return onService(topology.Service{Outlier: &topology.Outlier{Interval: time.Duration(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.Outlier.Interval) }},
		{"MostInterval", "services.orders.outlier.interval", int64(policy.MostInterval), int64(policy.MostInterval + step), func(v int64) *topology.Document {
			return onService(topology.Service{Outlier: &topology.Outlier{Interval: time.Duration(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.Outlier.Interval) }},
		{"LeastEject", "services.orders.outlier.eject", int64(policy.LeastEject), int64(policy.LeastEject - step), func(v int64) *topology.Document {
			return onService(topology.Service{Outlier: &topology.Outlier{Eject: time.Duration(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.Outlier.Eject) }},
		{"MostEject", "services.orders.outlier.eject", int64(policy.MostEject), int64(policy.MostEject + step), func(v int64) *topology.Document {
			return onService(topology.Service{Outlier: &topology.Outlier{Eject: time.Duration(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.Outlier.Eject) }},
		{"LeastEjected", "services.orders.outlier.max", int64(policy.LeastEjected), int64(policy.LeastEjected - 1), func(v int64) *topology.Document {
			return onService(topology.Service{Outlier: &topology.Outlier{Max: topology.Percent(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.Outlier.Max) }},
		{"MostEjected", "services.orders.outlier.max", int64(policy.MostEjected), int64(policy.MostEjected + 1), func(v int64) *topology.Document {
			return onService(topology.Service{Outlier: &topology.Outlier{Max: topology.Percent(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.Outlier.Max) }},
		{"LeastPanic", "services.orders.lb.panic", int64(policy.LeastPanic), int64(policy.LeastPanic - 1), func(v int64) *topology.Document {
			return onService(topology.Service{LB: topology.LoadBalancing{Panic: topology.Percent(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.LB.Panic) }},
		{"MostPanic", "services.orders.lb.panic", int64(policy.MostPanic), int64(policy.MostPanic + 1), func(v int64) *topology.Document {
			return onService(topology.Service{LB: topology.LoadBalancing{Panic: topology.Percent(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.LB.Panic) }},
		{"MostSlowStart", "services.orders.lb.slow_start", int64(policy.MostSlowStart), int64(policy.MostSlowStart + step), func(v int64) *topology.Document {
			return onService(topology.Service{LB: topology.LoadBalancing{SlowStart: time.Duration(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.LB.SlowStart) }},
		{"LeastSubset", "services.orders.lb.subset", policy.LeastSubset, policy.LeastSubset - 1, func(v int64) *topology.Document {
			return onService(topology.Service{LB: topology.LoadBalancing{Subset: int(v)}})
		}, func(p *policy.Plan) int64 { return int64(p.LB.Subset) }},
	} {
		covered[test.bound] = true
		t.Run(test.bound+" "+test.path, func(t *testing.T) {
			for _, v := range []int64{test.holds, test.more} {
				p, err := policy.Compile(policy.Options{}, policy.Layer{Origin: "kv", Document: test.asks(v)})
				if err != nil {
					t.Fatal(err)
				}
				if got := test.gets(p.Service("orders").Route(&policy.Request{Kind: "method", Name: "get"})); got != test.holds {
					t.Errorf("asked for %d: %d holds, want %d", v, got, test.holds)
				}
				switch notes := p.Bounded(); {
				case v == test.holds && len(notes) != 0:
					t.Errorf("asked for %d: %v", v, errors.Join(notes...))
				case v != test.holds && (len(notes) != 1 || !errors.Is(notes[0], policy.ErrBounded) || !strings.Contains(notes[0].Error(), "kv: "+test.path+": is ")):
					t.Errorf("asked for %d: said %v, want one note on %s", v, errors.Join(notes...), test.path)
				}
			}
		})
	}
	for _, name := range constantsOf(t, "bound.go", "Most", "Least") {
		if !covered[name] {
			t.Errorf("no row for %s", name)
		}
	}
}
