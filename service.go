package link

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security"
)

const (
	// maxServices is how many services one node may call.
	maxServices = 4096
	// ejectTime is how long an instance with a wrong identity is not tried: such a
	// registration is an attack or a grave mistake, and mends itself seldom.
	ejectTime = 5 * time.Minute
	// leaveTime is how long an instance that drains is not tried: long enough for
	// the registry to say so too. Dialing it again meets a closed socket, which
	// takes Limits.DialTimeout to notice.
	leaveTime = 30 * time.Second
	// holdTime is how long instances that vanish in numbers are kept while their
	// connections answer: the registry is more likely ill than they are.
	holdTime = 30 * time.Second
)

// serviceTable holds the services that the node calls. Readers take no lock.
type serviceTable struct {
	mu    sync.Mutex // one writer at a time
	table atomic.Pointer[map[string]*service]
}

// service is one service that the node calls: its instances and what was
// learned about them.
type service struct {
	node     *Node
	name     string
	identity security.ID
	table    balance.Table[*instance]
	budget   retryBudget
	sizes    sizeHint      // of requests
	known    chan struct{} // closed after the first snapshot

	mu        sync.Mutex    // guards the fields below
	change    chan struct{} // closed and replaced when the instances change
	instances map[string]*instance
	leftOut   map[string]bool // instances that may not be dialed, as the log was told
}

// instance is one instance of a service.
type instance struct {
	discovery.Instance

	peer    *transport.Peer
	ejected atomic.Int64 // UnixNano until which it is not tried
	leaving atomic.Int64 // the same, because it said that it drains
	missing time.Time    // since when the registry does not show it
}

// sizeHint remembers how large a buffer the messages of one kind take, so that
// encoding a large one does not grow its buffer step by step.
type sizeHint struct{ atomic.Int64 }

// note takes in a size. It writes only when the size is of another magnitude.
func (h *sizeHint) note(size int) {
	if last := h.Load(); int64(size) > last || int64(size)*4 < last {
		h.Store(int64(size) + int64(size)/8)
	}
}

// service returns the service called name, beginning to watch it at first use.
func (n *Node) service(name string) (*service, error) {
	if m := n.services.table.Load(); m != nil {
		if s := (*m)[name]; s != nil {
			return s, nil
		}
	}
	return n.addService(name)
}

func (n *Node) addService(name string) (*service, error) {
	query := discovery.Query{Service: name, Namespace: n.cfg.Namespace}
	if err := query.Validate(); err != nil {
		return nil, Errorf(InvalidArgument, "%w", err)
	}
	n.services.mu.Lock()
	defer n.services.mu.Unlock()
	next := make(map[string]*service)
	if m := n.services.table.Load(); m != nil {
		if s := (*m)[name]; s != nil {
			return s, nil
		}
		next = maps.Clone(*m)
	}
	if len(next) >= maxServices {
		return nil, Errorf(ResourceExhausted, "the node calls %d services already", maxServices)
	}
	own := n.identity.ID()
	id, err := security.NewID(own.TrustDomain(), own.Namespace(), name)
	if err != nil {
		return nil, Errorf(InvalidArgument, "%w", err)
	}
	s := &service{node: n, name: name, identity: id, known: make(chan struct{}), change: make(chan struct{}), instances: make(map[string]*instance)}
	ctx := n.group.Context()
	snapshots, err := n.registry.Watch(ctx, query)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errNodeClosed
		}
		return nil, Errorf(Unavailable, "looking for %s in %s: %w", name, describeRegistry(n.registry), err)
	}
	if !n.group.Go(func(ctx context.Context) { s.follow(ctx, snapshots) }) {
		return nil, errNodeClosed
	}
	next[name] = s
	n.services.table.Store(&next)
	return s, nil
}

// follow applies snapshots until the node closes.
func (s *service) follow(ctx context.Context, snapshots <-chan discovery.Snapshot) {
	defer s.releaseAll()
	var last discovery.Snapshot
	held := time.NewTimer(0)
	held.Stop()
	defer held.Stop()
	first := true
	for {
		select {
		case snapshot, ok := <-snapshots:
			if !ok {
				<-ctx.Done() // the registry is closed; what is known stays
				return
			}
			last = snapshot
		case <-held.C:
		case <-ctx.Done():
			return
		}
		if s.apply(last) {
			held.Reset(time.Second)
		}
		if first {
			first = false
			close(s.known)
		}
	}
}

// apply makes the instances of a snapshot those that calls go to. It reports
// whether it holds some that the snapshot lacks and must look again.
func (s *service) apply(snapshot discovery.Snapshot) (holding bool) {
	e, err := s.node.socket()
	if err != nil {
		return false // the node is closed, or calls will get this error themselves
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	seen := make(map[string]bool, len(snapshot.Instances))
	leftOut := make(map[string]bool)
	for _, in := range snapshot.Instances {
		if !s.allowed(in, snapshot.Origin) {
			leftOut[in.ID] = true
			continue
		}
		seen[in.ID] = true
		known := s.instances[in.ID]
		if known == nil || known.Addr != in.Addr {
			if known != nil {
				known.peer.Release()
			}
			known = &instance{Instance: in, peer: e.Peer(s.identity.String(), in.Addr, s.clientTLS)}
		} else if !known.Equal(in) {
			next := &instance{Instance: in, peer: known.peer}
			next.ejected.Store(known.ejected.Load())
			next.leaving.Store(known.leaving.Load())
			known = next
		}
		known.missing = time.Time{}
		s.instances[in.ID] = known
	}
	s.leftOut = leftOut
	gone := 0
	for id := range s.instances {
		if !seen[id] {
			gone++
		}
	}
	massive := gone*2 > len(s.instances) || gone == len(s.instances)
	items := make([]balance.Item[*instance], 0, len(s.instances))
	for id, in := range s.instances {
		if !seen[id] && !s.hold(in, massive, now) {
			in.peer.Release()
			delete(s.instances, id)
			continue
		}
		holding = holding || !seen[id]
		if in.Status == discovery.Serving {
			items = append(items, balance.Item[*instance]{Key: id, Value: in, Weight: uint32(in.Weight)})
		}
	}
	s.table.Update(items)
	close(s.change)
	s.change = make(chan struct{})
	return holding
}

// changed returns a channel that is closed when the instances change.
func (s *service) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change
}

// allowed reports whether an instance may be dialed, whatever a registry says,
// and logs once if not.
func (s *service) allowed(in discovery.Instance, origin discovery.Origin) bool {
	why, fix := s.node.refused(in, origin)
	if why != "" && !s.leftOut[in.ID] {
		s.node.cfg.Logger.Warn("link: instance left out: "+why, "service", s.name, "instance", in.ID, "addr", in.Addr, "fix", fix)
	}
	return why == ""
}

// hold decides about an instance that the registry no longer shows. One that
// goes alone goes at once. When most vanish together, those whose authenticated
// connection still answers stay for a while: the connection outranks the
// registry.
func (s *service) hold(in *instance, massive bool, now time.Time) bool {
	if in.missing.IsZero() {
		in.missing = now
		in.peer.Probe()
		if !massive {
			return false
		}
	}
	return in.peer.Live(wire.ClassCalls) != nil && now.Sub(in.missing) < holdTime
}

func (s *service) releaseAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.instances {
		in.peer.Release()
	}
	s.instances = nil
}

// wait returns when the first snapshot is there.
func (s *service) wait(ctx context.Context, deadline time.Time) error {
	select {
	case <-s.known:
		return nil
	default:
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-s.known:
		return nil
	case <-t.C:
		return Errorf(DeadlineExceeded, "%s has not said in time which instances of %s there are", describeRegistry(s.node.registry), s.name)
	case <-ctx.Done():
		return Errorf(CodeOf(ctx.Err()), "while looking for %s in %s: %w", s.name, describeRegistry(s.node.registry), context.Cause(ctx))
	case <-s.node.group.Context().Done():
		return errNodeClosed
	}
}

// none describes why there is nobody to call.
func (s *service) none() error {
	s.mu.Lock()
	total, draining := len(s.instances), 0
	for _, in := range s.instances {
		if in.Status == discovery.Draining {
			draining++
		}
	}
	s.mu.Unlock()
	where := describeRegistry(s.node.registry)
	if total == 0 {
		return Errorf(Unavailable, "no instance of service %q in namespace %q is registered in %s; is it running, with the same registry, namespace and trust domain as this node (%s, tier %s)?",
			s.name, s.node.cfg.Namespace, where, s.identity.TrustDomain(), s.node.identity.Tier())
	}
	return Errorf(Unavailable, "none of the %d instances of service %q in %s takes calls: %s", total, s.name, where, fmt.Sprintf("%d drain", draining))
}

// left notes that the instance said that it drains.
func (in *instance) left() { in.leaving.Store(time.Now().Add(leaveTime).UnixNano()) }
