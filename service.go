package link

import (
	"context"
	"errors"
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
	// desertedAfter is how often in a row a service without instances is found unused, desertedEvery apart, before it
	// is forgotten.
	desertedAfter = 3
	desertedEvery = 20 * time.Second
	// ejectTime is how long an instance with a wrong identity is not tried: such a
	// registration is an attack or a grave mistake, and seldom goes away by itself.
	ejectTime = 5 * time.Minute
	// leaveTime is how long an instance that drains is not tried: long enough for
	// the registry to say so too. Dialing it again meets a closed socket, which
	// takes Limits.DialTimeout to notice.
	leaveTime = 30 * time.Second
	// holdTime is how long instances that vanish in numbers are kept while their
	// connections answer: the registry is more likely ill than they are.
	holdTime = 30 * time.Second
)

// service is one service that the node calls: its instances and what was
// learned about them.
type service struct {
	node      *Node
	name      string
	identity  security.ID
	set       balance.Set[*instance]
	view      atomic.Pointer[view] // how calls choose among the set
	budget    retryBudget
	sizes     sizeHint      // how large requests are
	nearTags  proposals     // for calls for tags that no instance has
	known     chan struct{} // closed when calls may begin
	knownOnce sync.Once
	heard     atomic.Bool // an instance list is in use

	life   context.Context //nolint:containedctx // for what follows the registry; it ends when the service is forgotten
	end    context.CancelCauseFunc
	used   atomic.Int64 // serviceTable.age when it was used last
	pins   atomic.Int64 // how many wait for its instances, or follow them: it is not forgotten
	recent atomic.Bool  // it was used since follow looked

	mu       sync.Mutex    // guards the fields below
	change   chan struct{} // closed and replaced when the instances change
	snapshot discovery.Snapshot
	members  map[string]*instance // by ID: those of the snapshot that may be dialed, and those that are held
	held     map[string]time.Time // members that the snapshot lacks, since when
	leftOut  map[string]bool      // instances of the snapshot that may not be dialed
	forgot   time.Time            // when a call last had tags forgotten
	redialAt time.Time            // when a call may next have instances dialed again
	said     map[string]bool      // what the log says once
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
	if s := n.services.get(name); s != nil {
		s.use()
		return s, nil
	}
	return n.addService(name)
}

// use notes that the service is in use. Mostly it only reads, which callers on many processors can do at once.
func (s *service) use() {
	if age := s.node.services.age.Load(); s.used.Load() != age {
		s.used.Store(age)
	}
	if !s.recent.Load() {
		s.recent.Store(true)
	}
}

func (n *Node) addService(name string) (*service, error) {
	query := discovery.Query{Service: name, Namespace: n.cfg.Namespace}
	if err := query.Validate(); err != nil {
		return nil, Errorf(InvalidArgument, "%w", err)
	}
	own := n.identity.ID()
	id, err := security.NewID(own.TrustDomain(), own.Namespace(), name)
	if err != nil {
		return nil, Errorf(InvalidArgument, "%w", err)
	}
	t := &n.services
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.get(name); s != nil {
		s.use()
		return s, nil
	}
	var victim *service
	if t.held >= maxServices {
		if victim = t.victimLocked(); victim == nil {
			return nil, Errorf(ResourceExhausted, "the node follows %d services already, which is as many as it can", maxServices)
		}
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
	s.used.Store(t.age.Add(1))
	s.recent.Store(true)
	if victim != nil {
		t.removeLocked(victim)
		defer n.giveWay(victim)
	}
	t.addLocked(s)
	n.policy.adopt(s) // it may have changed before the table had s
	return s, nil
}

// giveWay ends what follows a service that is no longer in the table. Calls that are
// under way to it go on; its connections end when they are idle.
func (n *Node) giveWay(s *service) {
	s.end(errGaveWay)
	n.services.forgotten.Add(1)
	if n.services.gaveWay.Add(1) == 1 {
		n.cfg.Logger.Warn("link: the node calls many services; those that it has not used for longest are forgotten, and looked for again when they are called",
			"limit", maxServices, "service", s.name)
	}
}

// Why a service is no longer followed.
var (
	errGaveWay  = errors.New("the node knows too many services, and this one was unused for longest")
	errDeserted = errors.New("the service had no instances, and was not used for a while")
)

// desert forgets the service if nobody serves it and nobody needs it, and reports whether that is so: to follow a
// name costs the registry something, and anybody may make up names. A service that the topology may send calls to is
// needed when another one fails.
func (s *service) desert() bool {
	n := s.node
	t := &n.services
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.inhabited() || s.pins.Load() > 0 || s.recent.Load() || n.policy.current().Reached(s.name) || t.get(s.name) != s {
		return false
	}
	t.removeLocked(s)
	t.forgotten.Add(1)
	s.end(errDeserted)
	return true
}

// inhabited reports whether the registry knows an instance, or one that it has lost is held.
func (s *service) inhabited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members)+len(s.leftOut) > 0
}

// pin keeps the service from being forgotten until unpin is called, and for a while after that: whoever
// waited for its instances looks at them then, and may wait again.
func (s *service) pin() (unpin func()) {
	s.pins.Add(1)
	return func() {
		s.use() // before the pin is gone: desert asks in this order
		s.pins.Add(-1)
	}
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
	idle := time.NewTicker(desertedEvery)
	defer idle.Stop()
	seen, decided, quiet := false, false, 0
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
				s.node.cfg.Logger.Warn("link: the registry has not said which topology is in force; calls go by what is known", "service", s.name, "after", policyWait)
			}
			decided = true
		case <-idle.C:
			if quiet++; s.recent.Swap(false) {
				quiet = 0
			}
			if quiet >= desertedAfter && s.desert() {
				return
			}
			continue
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
		what := "which instances exist"
		if s.heard.Load() {
			what = "which topology is in force"
		}
		return Errorf(DeadlineExceeded, "%s has not said in time %s for %s", describeRegistry(s.node.registry), what, s.name)
	case <-ctx.Done():
		return Errorf(CodeOf(ctx.Err()), "while looking for %s in %s: %w", s.name, describeRegistry(s.node.registry), context.Cause(ctx))
	case <-s.life.Done():
		if s.node.group.Context().Err() == nil {
			return Errorf(Unavailable, "looking for %s: %w; a further call looks for it again", s.name, context.Cause(s.life))
		}
		return errNodeClosed
	}
}
