package link

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/balance"
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
	stale atomic.Int64 // services whose registry cannot be read
}

// service is one service that the node calls: its instances and what was
// learned about them.
type service struct {
	node      *Node
	name      string
	identity  security.ID
	set       balance.Set[*instance]
	view      atomic.Pointer[view] // how calls choose among the set
	budget    retryBudget
	sizes     sizeHint      // of requests
	known     chan struct{} // closed when calls may begin
	knownOnce sync.Once
	heard     atomic.Bool // an instance list is in use

	mu       sync.Mutex    // guards the fields below
	change   chan struct{} // closed and replaced when the instances change
	snapshot discovery.Snapshot
	members  map[string]*instance // by ID: those of the snapshot that may be dialed, and those that are held
	held     map[string]time.Time // members that the snapshot lacks, since when
	leftOut  map[string]bool      // instances of the snapshot that may not be dialed
	forgot   time.Time            // when a call last had tags forgotten
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
	s := &service{
		node: n, name: name, identity: id,
		known: make(chan struct{}), change: make(chan struct{}),
		members: make(map[string]*instance), held: make(map[string]time.Time), leftOut: make(map[string]bool),
	}
	ctx := n.group.Context()
	snapshots, err := n.registry.Watch(ctx, query)
	if err != nil {
		if ctx.Err() != nil {
			return nil, errNodeClosed
		}
		return nil, Errorf(Unavailable, "looking for %s in %s: %w", name, describeRegistry(n.registry), err)
	}
	n.policy.watchFile()
	n.policy.adopt(s)
	ruled := n.policy.watchRegistry(query)
	if !n.group.Go(func(ctx context.Context) { s.follow(ctx, snapshots, ruled) }) {
		return nil, errNodeClosed
	}
	next[name] = s
	n.services.table.Store(&next)
	n.policy.adopt(s) // it may have changed before the table had s
	return s, nil
}

// follow applies snapshots until the node closes. Calls wait for the first of
// them, and for the registry's word on the topology, for a while.
func (s *service) follow(ctx context.Context, snapshots <-chan discovery.Snapshot, ruled <-chan struct{}) {
	defer s.releaseAll()
	var last discovery.Snapshot
	held := time.NewTimer(0)
	held.Stop()
	defer held.Stop()
	patience := time.NewTimer(policyWait)
	defer patience.Stop()
	seen, decided := false, false
	for {
		select {
		case snapshot, ok := <-snapshots:
			if !ok {
				<-ctx.Done() // the registry is closed; what is known stays
				return
			}
			last, seen = snapshot, true
		case <-held.C:
		case <-ruled:
			ruled, decided = nil, true
		case <-patience.C:
			if !decided {
				s.node.cfg.Logger.Warn("link: the registry has not said what topology there is; calls go by what is known", "service", s.name, "after", policyWait)
			}
			decided = true
		case <-ctx.Done():
			return
		}
		applied := false
		if seen {
			var holding bool
			if applied, holding = s.apply(last); holding || !applied {
				held.Reset(time.Second)
			}
		}
		s.heard.Store(applied || s.heard.Load())
		s.node.policy.adopt(s) // the registry may have said by now where this node is
		if applied && decided {
			s.knownOnce.Do(func() { close(s.known) })
		}
	}
}

// changed returns a channel that is closed when the instances change.
func (s *service) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change
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
		what := "which instances there are"
		if s.heard.Load() {
			what = "what topology there is"
		}
		return Errorf(DeadlineExceeded, "%s has not said in time %s of %s", describeRegistry(s.node.registry), what, s.name)
	case <-ctx.Done():
		return Errorf(CodeOf(ctx.Err()), "while looking for %s in %s: %w", s.name, describeRegistry(s.node.registry), context.Cause(ctx))
	case <-s.node.group.Context().Done():
		return errNodeClosed
	}
}
