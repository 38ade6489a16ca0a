package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/linkmesh/link/internal/policy/errtext"
	"github.com/linkmesh/link/topology"
)

// ErrBounded is the kind of a *topology.FieldError: an untrusted layer asks
// for a setting outside its bounds, and gets the bound instead.
var ErrBounded = errors.New("topology bounded")

// Bounds of what an untrusted layer may ask for. Its author may decide where calls go, within a service and to the
// services in Options.AllowRedirect. The bounds keep the author from making calls fail, hang or multiply, and from
// switching off the protections against that.
const (
	// LeastTimeout is more than a call across a continent takes: with less, all calls would fail. MostTimeout is how
	// long servers let a call last by default: with more, calls would pile up.
	LeastTimeout = 100 * time.Millisecond
	MostTimeout  = time.Minute
	// MostRetries and MostBudget are the defaults without a document: more would multiply an outage. With
	// less than LeastRetries attempts and LeastBudget, each instance that restarts would fail calls.
	MostRetries                   = 3
	MostBudget   topology.Percent = 20
	LeastRetries                  = 2
	LeastBudget  topology.Percent = 5
	// MostEject, MostInterval and MostEjected keep a few errors from emptying a service for long. LeastPanic keeps
	// the panic threshold, which detects that, switched on.
	MostEject                     = 5 * time.Minute
	MostInterval                  = 5 * time.Minute
	MostEjected  topology.Percent = 50
	LeastPanic   topology.Percent = 10
	LeastErrors                   = 2
	// LeastEject, LeastEjected, LeastInterval and MostErrors ensure that a failing instance is ejected for a while.
	// MostPanic ensures that ejections hold while at least half of the instances are available.
	LeastEject                     = time.Second
	LeastEjected  topology.Percent = 10
	LeastInterval                  = time.Second
	MostErrors                     = 100
	MostPanic     topology.Percent = 50
	// MostSlowStart keeps new instances from staying idle, LeastSubset a client from depending on one instance.
	MostSlowStart = 5 * time.Minute
	LeastSubset   = 2
)

// bounded returns the services and the defaults of a layer, forced into the bounds, and reports each change to p.
func (l Layer) bounded(p *problems) (map[string]topology.Service, topology.Defaults) {
	doc := l.Document
	if l.Trusted {
		return doc.Services, doc.Defaults
	}
	b := bounds{p}
	defaults := doc.Defaults
	defaults.Timeout = b.timeout("defaults.timeout", defaults.Timeout)
	defaults.Retry = b.retry("defaults.retry", defaults.Retry)
	services := make(map[string]topology.Service, len(doc.Services))
	for _, name := range slices.Sorted(maps.Keys(doc.Services)) {
		services[name] = b.service(errtext.Path("services", name), doc.Services[name])
	}
	return services, defaults
}

// retryUnavailable is the code of calls that fail because their instance is gone or shutting down.
const retryUnavailable = "unavailable"

// bounds forces the settings of a document into the bounds. Its methods return the settings that apply.
type bounds struct{ *problems }

func (b bounds) add(path, format string, args ...any) {
	b.problems.add(ErrBounded, path, format+", because others can write this document", args...)
}

func (b bounds) service(path string, s topology.Service) topology.Service {
	s.Timeout = b.timeout(errtext.Path(path, "timeout"), s.Timeout)
	s.Retry = b.retry(errtext.Path(path, "retry"), s.Retry)
	s.Routes = slices.Clone(s.Routes)
	for i := range s.Routes {
		at := fmt.Sprintf("%s.routes[%d]", path, i)
		s.Routes[i].Timeout = b.timeout(errtext.Path(at, "timeout"), s.Routes[i].Timeout)
		s.Routes[i].Retry = b.retry(errtext.Path(at, "retry"), s.Routes[i].Retry)
	}
	if s.Outlier != nil {
		o := b.outlier(errtext.Path(path, "outlier"), *s.Outlier)
		s.Outlier = &o
	}
	s.LB = b.loadBalancing(errtext.Path(path, "lb"), s.LB)
	if s.Mirror != nil {
		b.add(errtext.Path(path, "mirror"), "copies only calls of read-only methods: the others would run twice")
	}
	return s
}

// most returns v, or bound if v exceeds it.
func most[T ~int | ~int64 | ~float64](b bounds, path string, v, bound T) T {
	if v <= bound {
		return v
	}
	b.add(path, "is %v, and %v holds", v, bound)
	return bound
}

// least returns v, or bound if v is set and below it. Zero means that v is not set.
func least[T ~int | ~int64 | ~float64](b bounds, path string, v, bound T) T {
	if v == 0 || v >= bound {
		return v
	}
	b.add(path, "is %v, and %v holds", clip(v), bound)
	return bound
}

func (b bounds) timeout(path string, d time.Duration) time.Duration {
	return most(b, path, least(b, path, d, LeastTimeout), MostTimeout)
}

func (b bounds) retry(path string, r topology.Retry) topology.Retry {
	at := errtext.Path(path, "attempts")
	r.Attempts = most(b, at, least(b, at, r.Attempts, LeastRetries), MostRetries)
	at = errtext.Path(path, "budget")
	r.Budget = most(b, at, least(b, at, r.Budget, LeastBudget), MostBudget)
	if r.On != nil && !slices.Contains(r.On, retryUnavailable) {
		b.add(errtext.Path(path, "on"), "lacks %s, which holds, too", retryUnavailable)
		r.On = append(slices.Clone(r.On), retryUnavailable)
	}
	return r
}

func (b bounds) outlier(path string, o topology.Outlier) topology.Outlier {
	at := errtext.Path(path, "errors")
	o.Errors = most(b, at, least(b, at, o.Errors, LeastErrors), MostErrors)
	at = errtext.Path(path, "interval")
	o.Interval = most(b, at, least(b, at, o.Interval, LeastInterval), MostInterval)
	at = errtext.Path(path, "eject")
	o.Eject = most(b, at, least(b, at, o.Eject, LeastEject), MostEject)
	at = errtext.Path(path, "max")
	o.Max = most(b, at, least(b, at, o.Max, LeastEjected), MostEjected)
	return o
}

func (b bounds) loadBalancing(path string, lb topology.LoadBalancing) topology.LoadBalancing {
	at := errtext.Path(path, "panic")
	lb.Panic = most(b, at, least(b, at, lb.Panic, LeastPanic), MostPanic)
	lb.SlowStart = most(b, errtext.Path(path, "slow_start"), lb.SlowStart, MostSlowStart)
	if lb.Subset > 0 {
		lb.Subset = least(b, errtext.Path(path, "subset"), lb.Subset, LeastSubset)
	}
	return lb
}
