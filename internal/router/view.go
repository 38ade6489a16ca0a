package router

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/place"
	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/topology"
)

// maxNarrowed bounds how many paths for calls with [OnTags] or [InZone] one service
// keeps ready; beyond it the oldest is dropped.
const maxNarrowed = 64

// view is what the current policy makes of the instances of a service. A new policy
// makes a new view.
type view struct {
	service *Service
	policy  *policy.Policy
	plans   *policy.Plans
	// at is where this node is.
	at policy.Locality

	// only is where all calls without Sticky, OnTags and InZone go, if there is just
	// one such place: the usual case, with nothing to decide on each call.
	only *path

	mu    sync.Mutex // guards the fields below, except fast
	paths map[narrowing]*path
	// narrowed are the keys of paths that narrow, oldest first.
	narrowed []narrowing
	closed   bool
	// fast maps *policy.Plan to *path, for calls that narrow nothing.
	fast sync.Map
}

// narrowing is the key of a path: a plan, and what the call asks for besides.
type narrowing struct {
	plan *policy.Plan
	// tags are sorted, and joined by NUL.
	tags string
	zone bool
}

// path is where calls of one plan go.
type path struct {
	plan   *policy.Plan
	levels []level
}

// level is a set of instances to choose from.
type level struct {
	group *balance.Group[*instance]
	// plan is the plan that the level belongs to.
	plan *policy.Plan
	// other is the service whose own plan takes the place of this level; group is nil then.
	other string
	step  policy.Level

	// match accepts instances; nil accepts all.
	match func(*instance) bool
	// proven is the instance that was connected last.
	proven *atomic.Pointer[endpoint]
}

// proves records that there is a connection to an instance.
func (l *level) proves(e *endpoint) {
	if l.proven != nil && l.proven.Load() != e {
		l.proven.Store(e)
	}
}

// newView makes the view of a service under a policy, which may be nil.
func newView(s *Service, policy *policy.Policy) *view {
	return &view{service: s, at: s.router.locality(), policy: policy, plans: policy.Service(s.name), paths: make(map[narrowing]*path)}
}

// setPolicy makes calls follow another policy. What was measured about instances
// is kept.
func (s *Service) setPolicy(policy *policy.Policy) {
	next := newView(s, policy)
	s.configure(next)
	if plan := next.plans.Only(); plan != nil && plan.Mirror == nil && plan.Fault == nil && plan.LB.Policy != topology.Hash {
		if p := next.path(plan, &Ask{}); len(p.levels) == 1 && p.levels[0].group != nil {
			next.only = p
		}
	}
	next.warnOfUnknownPlaces()
	if old := s.view.Swap(next); old != nil {
		old.release()
	}
	s.mu.Lock()
	next.noteEmptyLocked()
	s.change.All()
	s.mu.Unlock()
}

// noteEmptyLocked logs once if a policy names a subset in which no instance of a configured list can
// be: such an instance may yet appear in a registry, but not in a list. The service's lock is held.
func (v *view) noteEmptyLocked() {
	if v == nil || v.policy == nil {
		return
	}
	s := v.service
	if len(s.members) == 0 || s.snapshot.Origin != discovery.FromConfig {
		return
	}
	for _, in := range s.members {
		if in.TagsUnknown {
			return
		}
	}
	for _, subset := range v.plans.Subsets() {
		empty := true
		for _, in := range s.members {
			empty = empty && !subset.Matches(in.Tags, in.Meta)
		}
		what := fmt.Sprintf("subset %s %q %q", subset.Name, subset.Tags, subset.Meta)
		if !empty {
			delete(s.said, what)
			continue
		}
		if !s.sayLocked(what) {
			continue
		}
		s.router.cfg.Logger.Warn("link: no instance of the configured list can belong to a subset of the topology; calls for it fail or fail over",
			"service", s.name, "subset", subset.Name, "tags", subset.Tags, "meta", subset.Meta, "instances", len(s.members),
			"fix", "give the tags to Config.Tags of the instances or to LINK_PEERS: \""+s.name+"=host:port[tag,tag]\"")
	}
}

// maxSaid bounds the messages that a service remembers to have logged. It is more than one document can cause; beyond
// it some are logged again.
const maxSaid = 2 * limits.MaxSubsets

// say reports whether a message about the service is to be logged: it was not yet, whatever documents came and went.
func (s *Service) say(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sayLocked(what)
}

// saidWait stands for the message that calls wait. It is forgotten when instances come.
const saidWait = "calls wait"

func (s *Service) sayLocked(what string) bool {
	if s.said[what] {
		return false
	}
	if s.said == nil || len(s.said) >= maxSaid {
		s.said = make(map[string]bool)
	}
	s.said[what] = true
	return true
}

// warnOfUnknownPlaces logs once if a policy prefers near places and this node does not know
// where it is: such levels reach no instance.
func (v *view) warnOfUnknownPlaces() {
	if v.policy == nil {
		return
	}
	// A Placer tells the datacenter of this node sooner or later.
	_, told := v.service.router.cfg.Registry.(discovery.Placer)
	for _, l := range v.plans.Route(&policy.Request{}).Levels {
		word, missing := "", ""
		switch {
		case l.Scope == policy.SameZone && v.at.Zone == "":
			word, missing = "zone", place.Zone
		case l.Scope == policy.SameRegion && v.at.Region == "":
			word, missing = "region", place.Region
		case l.Scope == policy.SameDatacenter && v.at.Datacenter == "" && !told:
			word, missing = "datacenter", place.Datacenter
		}
		if word != "" && v.service.say("place "+word) {
			v.service.router.cfg.Logger.Warn("link: a failover list names the "+word+", but this node has none, so that step reaches no instance",
				"service", v.service.name, "fix", "Config.Tags or LINK_TAGS: \""+missing+"=…\"")
		}
	}
}

// configure passes the settings that hold for all calls to the balancer.
func (s *Service) configure(v *view) {
	// Outlier and LB are the same in all plans of a service.
	plan := v.plans.Route(&policy.Request{})
	outlier, lb := plan.Outlier, plan.LB
	if outlier.Max < 0 {
		outlier.Errors = topology.Off
	}
	s.set.Configure(balance.Options{
		Self:      s.router.cfg.Node.Instance,
		Zone:      v.at.Zone,
		SlowStart: lb.SlowStart,
		Outlier: balance.Outlier{
			Errors: outlier.Errors, Interval: outlier.Interval, Eject: outlier.Eject, Max: float64(outlier.Max) / 100,
		},
	}, clock.Now())
}

// locality returns where this node is, by its tags and meta. The registry may add the datacenter.
func (r *Router) locality() policy.Locality {
	at := localityOf(&discovery.Instance{Tags: r.cfg.Node.Tags, Meta: r.cfg.Node.Meta})
	if p, ok := r.cfg.Registry.(discovery.Placer); ok && at.Datacenter == "" {
		at.Datacenter = p.Datacenter()
	}
	return at
}

// localityOf returns where an instance is.
func localityOf(in *discovery.Instance) policy.Locality {
	return policy.Locality{Zone: in.Zone(), Region: in.Region(), Datacenter: in.Datacenter()}
}

// path returns where calls of a plan go, narrowed by what the call asks for.
func (v *view) path(plan *policy.Plan, c *Ask) *path {
	if !c.narrows() {
		if p, ok := v.fast.Load(plan); ok {
			found, _ := p.(*path)
			return found
		}
	}
	return v.makePath(plan, c)
}

func (v *view) makePath(plan *policy.Plan, c *Ask) *path {
	tags := slices.Compact(slices.Sorted(slices.Values(c.Tags)))
	// No tag contains a NUL.
	key := narrowing{plan, strings.Join(tags, "\x00"), c.Zone}
	v.mu.Lock()
	defer v.mu.Unlock()
	if p := v.paths[key]; p != nil {
		return p
	}
	p := &path{plan: plan, levels: make([]level, 0, len(plan.Levels))}
	for i := range plan.Levels {
		p.levels = append(p.levels, v.levelLocked(plan, &plan.Levels[i], tags, c.Zone))
	}
	if v.closed {
		// The policy changed after the call began. The path is not kept, so its groups are not updated.
		for _, l := range p.levels {
			v.service.set.Release(l.group)
		}
		return p
	}
	v.paths[key] = p
	if !c.narrows() {
		v.fast.Store(plan, p)
		return p
	}
	if v.narrowed = append(v.narrowed, key); len(v.narrowed) > maxNarrowed {
		oldest := v.narrowed[0]
		v.narrowed = v.narrowed[1:]
		v.releaseLocked(v.paths[oldest])
		delete(v.paths, oldest)
	}
	return p
}

func (v *view) levelLocked(plan *policy.Plan, l *policy.Level, tags []string, zone bool) level {
	if l.Service != v.service.name {
		return level{plan: plan, other: l.Service, step: *l}
	}
	own, lb := v.at, plan.LB
	match := func(in *instance) bool {
		// An instance with unknown tags may match. It announces its tags once it is connected.
		if in.TagsUnknown {
			return true
		}
		at := localityOf(&in.Instance)
		return l.Subset.Matches(in.Tags, in.Meta) && l.Scope.Contains(own, at) &&
			hasAll(in.Tags, tags) && (!zone || policy.SameZone.Contains(own, at))
	}
	everywhere := l.Scope == policy.Anywhere && !zone
	if everywhere && l.Subset == nil && len(tags) == 0 {
		match = nil
	}
	return level{
		plan:  plan,
		match: match, proven: new(atomic.Pointer[endpoint]),
		group: v.service.set.Group(match, balance.GroupOptions{
			Policy:    balancing[lb.Policy],
			ZoneAware: lb.ZoneAware == topology.On && everywhere,
			Panic:     float64(lb.Panic) / 100,
			Subset:    lb.Subset,
		}, clock.Now()),
		step: *l,
	}
}

// balancing maps the policies of package topology to those of package balance.
var balancing = map[topology.LBPolicy]balance.Policy{ //nolint:gochecknoglobals // a constant
	topology.P2C: balance.P2C, topology.RoundRobin: balance.RoundRobin, topology.Hash: balance.Hash,
}

// hasAll reports whether tags, which must be sorted, contain all of want.
func hasAll(tags, want []string) bool {
	for _, tag := range want {
		if _, ok := slices.BinarySearch(tags, tag); !ok {
			return false
		}
	}
	return true
}

func (v *view) release() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	for _, p := range v.paths {
		v.releaseLocked(p)
	}
	v.paths, v.narrowed = nil, nil
}

func (v *view) releaseLocked(p *path) {
	for _, l := range p.levels {
		if l.group != nil {
			v.service.set.Release(l.group)
		}
	}
}
