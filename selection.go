package link

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/topology"
)

// maxNarrowed bounds how many sets of tags of [OnTags] one service keeps ready;
// beyond them the least recently made give way.
const maxNarrowed = 64

// view is what the policy of the moment makes of the instances of a service. A
// new policy makes a new view.
type view struct {
	service *service
	policy  *topology.Policy
	plans   *topology.Plans
	at      topology.Locality // where this node is

	// only is where every call goes that asks for nothing itself, if there is but
	// one such place: the usual case, and nothing to decide on each call.
	only *path

	mu       sync.Mutex // guards the fields below
	paths    map[narrowing]*path
	narrowed []narrowing // those with tags, oldest first
	closed   bool
	fast     sync.Map // *topology.Plan to *path: those without narrowing
}

// narrowing is what a call asks for beside its plan.
type narrowing struct {
	plan *topology.Plan
	tags string // joined
	zone bool
}

// path is where calls of one plan go.
type path struct {
	plan   *topology.Plan
	levels []level
}

// level is a set of instances to choose from.
type level struct {
	group *balance.Group[*instance]
	plan  *topology.Plan // the plan that the level belongs to
	other string         // the service whose own plan says more, in place of group
	step  topology.Level

	match  func(*instance) bool      // nil accepts all
	proven *atomic.Pointer[endpoint] // the instance that was connected last
}

// proves notes that there is a connection to an instance.
func (l *level) proves(e *endpoint) {
	if l.proven != nil && l.proven.Load() != e {
		l.proven.Store(e)
	}
}

// newView makes a view of what a policy, which may be nil, says of a service.
func newView(s *service, policy *topology.Policy) *view {
	return &view{service: s, at: s.node.locality(), policy: policy, plans: policy.Service(s.name), paths: make(map[narrowing]*path)}
}

// setPolicy makes calls follow another policy. What was measured of instances
// stays.
func (s *service) setPolicy(policy *topology.Policy) {
	next := newView(s, policy)
	s.configure(next)
	if plan := next.plans.Only(); plan != nil && plan.Mirror == nil && plan.Fault == nil && plan.LB.Policy != topology.Hash {
		if p := next.path(plan, &callConfig{}); len(p.levels) == 1 && p.levels[0].group != nil {
			next.only = p
		}
	}
	next.warnOfUnknownPlaces()
	if old := s.view.Swap(next); old != nil {
		old.release()
	}
	s.mu.Lock()
	next.noteEmptyLocked()
	s.wakeLocked() // whoever follows the instances
	s.mu.Unlock()
}

// noteEmptyLocked says once when a policy names a subset in which no instance of a list that was
// configured can be: in a registry one may yet appear, there nobody does. The service's lock is held.
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
		s.node.cfg.Logger.Warn("link: the topology names a subset in which no instance of the configured list can be; calls for it fail, or go where its failover says",
			"service", s.name, "subset", subset.Name, "tags", subset.Tags, "meta", subset.Meta, "instances", len(s.members),
			"fix", "give the tags to Config.Tags of the instances or to LINK_PEERS: \""+s.name+"=host:port[tag,tag]\"")
	}
}

// maxSaid is how many things one service has said once. It has more than a document can make it say; beyond it some
// are said again.
const maxSaid = 2 * topology.MaxSubsets

// say reports whether something is to be said of the service: it was not yet, whatever documents came and went since.
func (s *service) say(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sayLocked(what)
}

// saidWait is what is said when calls wait, until instances come.
const saidWait = "calls wait"

func (s *service) sayLocked(what string) bool {
	if s.said[what] {
		return false
	}
	if s.said == nil || len(s.said) >= maxSaid {
		s.said = make(map[string]bool)
	}
	s.said[what] = true
	return true
}

// warnOfUnknownPlaces says once when a policy prefers places and nobody knows where this
// node is: such levels reach nobody.
func (v *view) warnOfUnknownPlaces() {
	if v.policy == nil {
		return
	}
	_, told := v.service.node.registry.(discovery.Placer) // which datacenter this is, sooner or later
	for _, l := range v.plans.Route(&topology.Request{}).Levels {
		word, missing := "", ""
		switch {
		case l.Scope == topology.SameZone && v.at.Zone == "":
			word, missing = "zone", discovery.KeyZone
		case l.Scope == topology.SameRegion && v.at.Region == "":
			word, missing = "region", discovery.KeyRegion
		case l.Scope == topology.SameDatacenter && v.at.Datacenter == "" && !told:
			word, missing = "datacenter", discovery.KeyDatacenter
		}
		if word != "" && v.service.say("place "+word) {
			v.service.node.cfg.Logger.Warn("link: a failover names the "+word+", and this node does not say in which it is: it reaches nobody there",
				"service", v.service.name, "fix", "Config.Tags or LINK_TAGS: \""+missing+"=…\"")
		}
	}
}

// configure hands what holds for all calls to the balancer.
func (s *service) configure(v *view) {
	plan := v.plans.Route(&topology.Request{}) // these two are the same in all plans of a service
	outlier, lb := plan.Outlier, plan.LB
	if outlier.Max < 0 {
		outlier.Errors = topology.Off
	}
	s.set.Configure(balance.Options{
		Self:      s.node.instance,
		Zone:      v.at.Zone,
		SlowStart: lb.SlowStart,
		Outlier: balance.Outlier{
			Errors: outlier.Errors, Interval: outlier.Interval, Eject: outlier.Eject, Max: float64(outlier.Max) / 100,
		},
	}, clock.Now())
}

// locality is where this node is: as its tags and meta say, and its registry.
func (n *Node) locality() topology.Locality {
	at := localityOf(&discovery.Instance{Tags: n.cfg.Tags, Meta: n.cfg.Meta})
	if p, ok := n.registry.(discovery.Placer); ok && at.Datacenter == "" {
		at.Datacenter = p.Datacenter()
	}
	return at
}

// localityOf is where an instance is.
func localityOf(in *discovery.Instance) topology.Locality {
	return topology.Locality{Zone: in.Zone(), Region: in.Region(), Datacenter: in.Datacenter()}
}

// path returns where calls of a plan go, narrowed by what the call asks for.
func (v *view) path(plan *topology.Plan, c *callConfig) *path {
	if !c.narrows() {
		if p, ok := v.fast.Load(plan); ok {
			found, _ := p.(*path) // nothing else is stored
			return found
		}
	}
	return v.makePath(plan, c)
}

func (v *view) makePath(plan *topology.Plan, c *callConfig) *path {
	tags := slices.Compact(slices.Sorted(slices.Values(c.tags)))
	key := narrowing{plan, strings.Join(tags, "\x00"), c.zone} // no tag holds that
	v.mu.Lock()
	defer v.mu.Unlock()
	if p := v.paths[key]; p != nil {
		return p
	}
	p := &path{plan: plan, levels: make([]level, 0, len(plan.Levels))}
	for i := range plan.Levels {
		p.levels = append(p.levels, v.levelLocked(plan, &plan.Levels[i], tags, c.zone))
	}
	if v.closed { // a call that began before the policy changed: its groups are its own
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

func (v *view) levelLocked(plan *topology.Plan, l *topology.Level, tags []string, zone bool) level {
	if l.Service != v.service.name {
		return level{plan: plan, other: l.Service, step: *l}
	}
	own, lb := v.at, plan.LB
	match := func(in *instance) bool {
		if in.TagsUnknown {
			return true // until it is connected, which tells
		}
		at := localityOf(&in.Instance)
		return l.Subset.Matches(in.Tags, in.Meta) && l.Scope.Contains(own, at) &&
			hasAll(in.Tags, tags) && (!zone || topology.SameZone.Contains(own, at))
	}
	everywhere := l.Scope == topology.Anywhere && !zone
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

// balancing are the policies of package topology in package balance.
var balancing = map[topology.LBPolicy]balance.Policy{ //nolint:gochecknoglobals // a constant
	topology.P2C: balance.P2C, topology.RoundRobin: balance.RoundRobin, topology.Hash: balance.Hash,
}

// hasAll reports whether tags, which are sorted, hold all of want.
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
