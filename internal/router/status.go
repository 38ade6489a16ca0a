package router

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/clock"
)

// ServiceStatus is what a router knows about a service.
type ServiceStatus struct {
	Service   string
	Instances int // known, including those that are held
	Serving   int // do not drain
	Connected int
	Barred    int // not tried for a while: unreachable, or of a wrong identity
	Ejected   int // get no calls for a while, because they failed
	Held      int // lost by the registry, but they answer
	LeftOut   int // in the registry, but they may not be dialed

	Source string
	// Stale means that the registry cannot be read, Reason is why.
	Stale  bool
	Reason string
	// At is when the registry showed this; zero if it never did.
	At time.Time
}

// DocumentStatus is what became of one document of the topology.
type DocumentStatus struct {
	Origin string
	// Stale is why the registry's document cannot be read, "" if it can.
	Stale string
	// Err is why the newest version of the document is not in force, nil if it is. At is when it came up.
	Err error
	At  time.Time
}

// Status returns what the router knows about each service, sorted by name.
func (r *Router) Status() []ServiceStatus {
	var out []ServiceStatus
	for s := range r.services.all() {
		out = append(out, s.status())
	}
	slices.SortFunc(out, func(a, b ServiceStatus) int { return strings.Compare(a.Service, b.Service) })
	return out
}

// Forgotten returns how many services were forgotten so far.
func (r *Router) Forgotten() uint64 { return r.services.forgotten.Load() }

// Documents returns what became of each document of the topology, sorted by origin.
func (r *Router) Documents() []DocumentStatus { return r.policy.status() }

func (s *Service) status() ServiceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := clock.Now()
	out := ServiceStatus{
		Service: s.name, Instances: len(s.members), Held: len(s.held), LeftOut: len(s.leftOut),
		Source: s.snapshot.Source, Stale: s.snapshot.Stale, Reason: s.snapshot.Reason, At: s.snapshot.At,
	}
	for id, in := range s.members {
		if in.Status == discovery.Serving {
			out.Serving++
		}
		if in.live() {
			out.Connected++
		}
		e, ok := s.set.Lookup(id)
		if !ok {
			continue
		}
		if e.Barred(now) {
			out.Barred++
		} else if _, ejected := e.Ejected(now); ejected {
			out.Ejected++
		}
	}
	return out
}

func (p *policies) status() []DocumentStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	origins := slices.Collect(maps.Keys(p.layers))
	for origin := range p.problems {
		if _, ok := p.layers[origin]; !ok {
			origins = append(origins, origin)
		}
	}
	for origin := range p.stale {
		if !slices.Contains(origins, origin) {
			origins = append(origins, origin)
		}
	}
	slices.Sort(origins)
	out := make([]DocumentStatus, 0, len(origins))
	for _, origin := range origins {
		s := DocumentStatus{Origin: origin, Stale: p.stale[origin].reason}
		if origin == originFile {
			s.Origin = p.router.cfg.Topology.File
		}
		if problem := p.problems[origin]; problem != nil {
			s.Err, s.At = problem.err, problem.at
		}
		out = append(out, s)
	}
	return out
}
