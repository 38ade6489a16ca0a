package link

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/transport"
)

// Status is what a node knows of itself and of the services it calls, for
// people and health pages. It is a copy and belongs to its receiver.
type Status struct {
	Service  string // "" for a pure client
	Instance string
	Addr     string // "" before the node runs
	Tags     []string
	Serving  bool   // announced, and takes calls
	Registry string // where the node looks: "Consul at 127.0.0.1:8500"

	Services []ServiceStatus // those that were called or watched, by name
	// Forgotten is how many services were forgotten: they gave way because the node has called
	// more than it keeps, which is 4096, or had no instances and were not used for a minute. Each
	// is looked for again when it is called.
	Forgotten uint64
	Topology  []TopologyStatus // the documents, by origin

	// Refused counts the connections that others tried to make to this node and that came
	// to nothing, by reason: those of security.Reason, "overload", "timeout", "flood" (too many
	// handshakes of an address, or datagrams of one handshake, each of which counts),
	// "no-certificate", "proof", "rejected-by-peer" and a few more. The log says
	// the same, at most every 10 s for each reason. Nil if there were none.
	Refused map[string]uint64

	// Shed counts the calls, streams and messages of callers that were refused for want
	// of room, by the field of Limits: "CallsPerProcess". The log says whose, at most
	// every 10 s for each limit. Nil if there were none.
	Shed map[string]uint64

	// Copies of calls that a topology asked for: those under way or sent, and those that were
	// not sent, because too many were under way, nobody could be reached, or they were too large
	// for the instance.
	Mirrored, MirrorsDropped uint64
}

// ServiceStatus is what a node knows of a service that it calls.
type ServiceStatus struct {
	Service   string
	Instances int // known, the held ones included
	Serving   int // those that do not drain
	Connected int // those with a connection
	Barred    int // those not tried for a while: unreachable, or a wrong identity
	Ejected   int // those left alone for a while because they failed
	Held      int // those that the registry lacks all at once, but whose connections answer
	LeftOut   int // those that the registry shows and that may not be dialed

	Source string    // the kind of registry
	Stale  bool      // the registry cannot be read; the last known instances are in use
	Reason string    // why it is stale
	At     time.Time // when the registry showed this; zero if it never did
}

// TopologyStatus is one document of the topology.
type TopologyStatus struct {
	Origin string
	// Stale is why the registry's document cannot be read, "" if it can.
	Stale string
	// Err is why the newest version of the document is not in force, nil if it is.
	// The version before stays in force.
	Err error
	At  time.Time // when Err came up
}

// Status returns what the node knows at this moment. It does not block on the
// network.
func (n *Node) Status() Status {
	n.mu.Lock()
	s := Status{
		Service: n.cfg.Service, Instance: n.instance, Addr: n.addr, Tags: slices.Clone(n.tags.current()),
		Serving: n.state == stateRunning, Registry: describeRegistry(n.registry),
		Forgotten: n.services.forgotten.Load(),
		Mirrored:  n.mirrors.sent.Load(), MirrorsDropped: n.mirrors.dropped.Load(),
	}
	n.mu.Unlock()
	for known := range n.services.all() {
		s.Services = append(s.Services, known.status())
	}
	slices.SortFunc(s.Services, func(a, b ServiceStatus) int { return strings.Compare(a.Service, b.Service) })
	s.Topology = n.policy.status()
	if e := n.endpoint.Load(); e != nil {
		if refused := e.Refused(); len(refused) > 0 {
			s.Refused = refused
		}
		if shed := e.Shed(); len(shed) > 0 {
			s.Shed = shed
		}
	}
	return s
}

func (s *service) status() ServiceStatus {
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
		if in.peer.Live(transport.ClassCalls) != nil || in.peer.Live(transport.ClassBulk) != nil {
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

func (p *policies) status() []TopologyStatus {
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
	out := make([]TopologyStatus, 0, len(origins))
	for _, origin := range origins {
		s := TopologyStatus{Origin: origin, Stale: p.stale[origin].reason}
		if origin == originFile {
			s.Origin = p.node.cfg.TopologyFile
		}
		if problem := p.problems[origin]; problem != nil {
			s.Err, s.At = problem.err, problem.at
		}
		out = append(out, s)
	}
	return out
}
