package link

import (
	"context"
	"slices"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/topology"
)

// Status is what a node knows about itself and about the services it calls, for
// people and health pages. It is a copy and belongs to its receiver.
type Status struct {
	// Service is "" for a pure client.
	Service  string
	Instance string
	// Addr is "" before the node runs.
	Addr string
	Tags []string
	// Serving means that the node is announced and takes calls.
	Serving bool
	// Registry is where the node looks for instances: "Consul at 127.0.0.1:8500".
	Registry string

	// Services are the services that were called or watched, sorted by name.
	Services []ServiceStatus
	// Forgotten is how many services were forgotten, because the node has called more than
	// the 4096 that it keeps, or because they had no instances and were not used for a minute.
	// A forgotten service is looked for again when it is called.
	Forgotten uint64
	// Topology are the documents of the topology, sorted by origin.
	Topology []TopologyStatus

	// Refused counts the failed connection attempts of others to this node, by reason:
	// those of security.Reason, "overload", "timeout", "flood" (too many handshakes of an
	// address, or datagrams of one handshake, each of which counts), "no-certificate",
	// "proof", "rejected-by-peer" and a few more. The log has the same, at most every 10 s
	// for each reason. Nil if there were none.
	Refused map[string]uint64

	// Shed counts the calls, streams and messages of callers that were refused for lack of
	// room, by the field of Limits: "CallsPerProcess", "Streams.PerProcess". The log names the
	// callers, at most every 10 s for each limit. Nil if there were none.
	Shed map[string]uint64

	// Mirrored counts the copies of calls, asked for by a topology, that are in flight or
	// were sent. MirrorsDropped counts those that were not sent, because too many were in
	// flight, no instance could be reached, or they were too large for the instance.
	Mirrored, MirrorsDropped uint64
}

// ServiceStatus is what a node knows about a service that it calls.
type ServiceStatus struct {
	Service string
	// Instances counts the known instances, including those that are held.
	Instances int
	// Serving counts the instances that do not drain.
	Serving int
	// Connected counts the instances with a connection.
	Connected int
	// Barred counts the instances that are not tried for a while, because they are
	// unreachable or have a wrong identity.
	Barred int
	// Ejected counts the instances that get no calls for a while because they failed.
	Ejected int
	// Held counts the instances that the registry no longer shows, but whose
	// connections answer.
	Held int
	// LeftOut counts the instances that the registry shows but that may not be dialed.
	LeftOut int

	// Source is the kind of registry.
	Source string
	// Stale means that the registry cannot be read, and that the last known instances
	// are in use. Reason is why.
	Stale  bool
	Reason string
	// At is when the registry showed this; zero if it never did.
	At time.Time
}

// TopologyStatus is one document of the topology.
type TopologyStatus struct {
	Origin string
	// Stale is why the registry's document cannot be read, "" if it can.
	Stale string
	// Err is why the newest version of the document is not in force, nil if it is.
	// The version before stays in force. At is when Err came up.
	Err error
	At  time.Time
}

// Status returns what the node knows at this moment. It does not block on the
// network.
func (n *Node) Status() Status {
	n.mu.Lock()
	s := Status{
		Service: n.cfg.Service, Instance: n.instance, Addr: n.addr, Tags: slices.Clone(n.presence.Tags()),
		Serving: n.state == stateRunning, Registry: router.Describe(n.registry),
		Forgotten: n.router.Forgotten(),
		Mirrored:  n.mirrors.sent.Load(), MirrorsDropped: n.mirrors.dropped.Load(),
	}
	n.mu.Unlock()
	for _, service := range n.router.Status() {
		s.Services = append(s.Services, ServiceStatus(service))
	}
	for _, document := range n.router.Documents() {
		s.Topology = append(s.Topology, TopologyStatus(document))
	}
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

// Instances returns the instances of a service that the node knows, sorted by
// ID. From then on the node watches the service. Instances blocks until the registry
// has first answered, ctx ends, or Config.Limits.CallTimeout has passed. The result must
// not be modified.
func (n *Node) Instances(ctx context.Context, name string) ([]discovery.Instance, error) {
	list, err := n.router.Instances(ctx, name)
	if err != nil {
		return nil, failed("instances of "+name, routed(err))
	}
	return list, nil
}

// Explain reports where a call would go at this moment, and for each instance why
// it may or may not get the call; a [topology.Explanation] prints as text. Options
// that select instances or carry metadata apply as in a call. Explain sends nothing.
// It blocks until the registry has first answered, ctx ends, or Config.Limits.CallTimeout
// has passed.
//
// Errors: those of [Node.Instances].
func (n *Node) Explain(ctx context.Context, r Route, opts ...CallOption) (topology.Explanation, error) {
	if err := r.Validate(); err != nil {
		return topology.Explanation{}, failed("explain "+r.String(), err)
	}
	e, err := n.router.Explain(ctx, askOf(r, opts))
	if err != nil {
		return topology.Explanation{}, failed("explain "+r.String(), routed(err))
	}
	return e, nil
}
