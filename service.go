package link

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/security"
)

const (
	// maxServices is how many services one node knows. Beyond them those give way that
	// were not used for longest, so that a node which calls whatever names it is told
	// goes on.
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

	age       atomic.Int64  // how many services were added: what the use of a service is counted in
	forgotten atomic.Uint64 // services that gave way
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

	life context.Context //nolint:containedctx // of what follows the registry; it ends when the service is forgotten
	end  context.CancelCauseFunc
	used atomic.Int64 // serviceTable.age when it was used last
	pins atomic.Int64 // how many wait for its instances, or follow them: it is not forgotten

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
			if age := n.services.age.Load(); s.used.Load() != age {
				s.used.Store(age)
			}
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
	var victim *service
	if len(next) >= maxServices {
		if victim = longestUnused(next); victim == nil {
			return nil, Errorf(ResourceExhausted, "the node follows %d services already, which is as many as it can", maxServices)
		}
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
	s.life, s.end = context.WithCancelCause(n.group.Context())
	snapshots, err := n.registry.Watch(s.life, query)
	if err != nil {
		defer s.end(err)
		if s.life.Err() != nil {
			return nil, errNodeClosed
		}
		return nil, Errorf(Unavailable, "looking for %s in %s: %w", name, describeRegistry(n.registry), err)
	}
	n.policy.watchFile()
	n.policy.adopt(s)
	ruled := n.policy.watchRegistry(s.life, query)
	if !n.group.Go(func(context.Context) { s.follow(s.life, snapshots, ruled) }) {
		s.end(errNodeClosed)
		return nil, errNodeClosed
	}
	next[name] = s
	s.used.Store(n.services.age.Add(1))
	if victim != nil {
		delete(next, victim.name)
		defer n.forgotten(victim)
	}
	n.services.table.Store(&next)
	n.policy.adopt(s) // it may have changed before the table had s
	return s, nil
}

// longestUnused returns the service that was not used for longest, of those that nobody
// waits for; nil if there is none.
func longestUnused(table map[string]*service) (found *service) {
	for _, s := range table {
		if s.pins.Load() == 0 && (found == nil || s.used.Load() < found.used.Load()) {
			found = s
		}
	}
	return found
}

// forgotten ends what follows a service that is in the table no more. Calls that are
// under way to it go on; its connections end when they are idle.
func (n *Node) forgotten(s *service) {
	s.end(errForgotten)
	if n.services.forgotten.Add(1) == 1 {
		n.cfg.Logger.Warn("link: the node calls many services; those that it has not used for longest are forgotten, and looked for again when they are called",
			"limit", maxServices, "service", s.name)
	}
}

// errForgotten is why a service is no longer followed.
var errForgotten = errors.New("the service was not used for longest of too many")

// pin keeps the service from being forgotten until unpin is called.
func (s *service) pin() (unpin func()) {
	s.pins.Add(1)
	return func() { s.pins.Add(-1) }
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
	defer s.pin()()
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
	case <-s.life.Done():
		if s.node.group.Context().Err() == nil {
			return Errorf(Unavailable, "looking for %s: %w; a further call looks for it again", s.name, context.Cause(s.life))
		}
		return errNodeClosed
	}
}
