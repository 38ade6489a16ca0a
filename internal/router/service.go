package router

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/balance"
	"github.com/linkmesh/link/internal/codes"
	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/spell"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/security"
)

const (
	// maxServices is how many services one node knows. Beyond it the least recently used
	// are forgotten, so that a node that calls arbitrary names goes on.
	maxServices = 4096
	// desertedAfter is how often in a row, desertedEvery apart, a service without instances
	// must be found unused before it is forgotten.
	desertedAfter = 3
	desertedEvery = 20 * time.Second
	// ejectTime is how long an instance with a wrong identity is not tried: such a
	// registration is an attack or a grave mistake, and rarely goes away by itself.
	ejectTime = 5 * time.Minute
	// leaveTime is how long an instance that drains is not tried: long enough for
	// the registry to say so, too. Dialing it again meets a closed socket, which
	// takes Limits.DialTimeout to notice.
	leaveTime = 30 * time.Second
	// holdTime is how long instances that the registry lost are kept while their
	// connections answer: the registry is more likely to be faulty than they are.
	holdTime = 30 * time.Second
)

// Service is one service that the node calls: its instances and what was
// learned about them.
type Service struct {
	router   *Router
	name     string
	identity security.ID
	set      balance.Set[*instance]
	// view is how calls choose among the set.
	view   atomic.Pointer[view]
	budget retryBudget
	// Sizes is the hint for the buffers of requests.
	Sizes transport.SizeHint
	// nearTags are proposals for calls for tags that no instance has.
	nearTags spell.Cache
	// known is closed when calls may begin.
	known     chan struct{}
	knownOnce sync.Once
	// heard means that a list of instances is in use.
	heard atomic.Bool

	usage

	mu sync.Mutex // guards the fields below
	// change wakes the calls and followers that wait for a change of the instances.
	change notify.Broadcast
	membership
	// forgot is when forgetTags last acted.
	forgot time.Time
	// redialAt is when redial may act next.
	redialAt time.Time
	// said holds the messages that are logged only once.
	said map[string]bool
}

// usage is how long a service is followed.
type usage struct {
	life context.Context //nolint:containedctx // for what follows the registry; it ends when the service is forgotten
	end  context.CancelCauseFunc
	// used is serviceTable.age at the last use.
	used atomic.Int64
	// pins counts those who wait for the instances or follow them. With pins the service is not forgotten.
	pins atomic.Int64
	// recent means that the service was used since follow last checked.
	recent atomic.Bool
}

// membership is which instances a service has.
type membership struct {
	snapshot discovery.Snapshot
	// members holds, by ID, the instances of the snapshot that may be dialed and those that are held.
	members map[string]*instance
	// held holds since when the snapshot lacks a member.
	held map[string]time.Time
	// leftOut holds the instances of the snapshot that may not be dialed.
	leftOut map[string]bool
}

// Service returns the service called name. At first use it begins to watch it.
func (r *Router) Service(name string) (*Service, error) {
	if s := r.services.get(name); s != nil {
		s.use()
		return s, nil
	}
	return r.addService(name)
}

// use records that the service is in use. It usually only reads, which callers on many processors can do at once.
func (s *Service) use() {
	if age := s.router.services.age.Load(); s.used.Load() != age {
		s.used.Store(age)
	}
	if !s.recent.Load() {
		s.recent.Store(true)
	}
}

func (r *Router) addService(name string) (*Service, error) {
	query := discovery.Query{Service: name, Namespace: r.cfg.Namespace}
	if err := query.Validate(); err != nil {
		return nil, errorf(codes.InvalidArgument, "%w", err)
	}
	own := r.cfg.Node.ID
	id, err := security.NewID(own.TrustDomain(), own.Namespace(), name)
	if err != nil {
		return nil, errorf(codes.InvalidArgument, "%w", err)
	}
	t := &r.services
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.get(name); s != nil {
		s.use()
		return s, nil
	}
	var victim *Service
	if t.held >= maxServices {
		if victim = t.victimLocked(); victim == nil {
			return nil, errorf(codes.ResourceExhausted, "the node already follows %d services, the maximum", maxServices)
		}
	}
	s := &Service{
		router: r, name: name, identity: id,
		known:      make(chan struct{}),
		membership: membership{members: make(map[string]*instance), held: make(map[string]time.Time), leftOut: make(map[string]bool)},
	}
	s.life, s.end = context.WithCancelCause(r.cfg.Group.Context())
	snapshots, err := r.cfg.Registry.Watch(s.life, query)
	if err != nil {
		defer s.end(err)
		if s.life.Err() != nil {
			return nil, errClosed
		}
		return nil, errorf(codes.Unavailable, "looking for %s in %s: %w", name, Describe(r.cfg.Registry), err)
	}
	r.policy.watchFile()
	r.policy.adopt(s)
	ruled := r.policy.watchRegistry(s.life, query)
	if !r.cfg.Group.Go(func(context.Context) { s.follow(s.life, snapshots, ruled) }) {
		s.end(errClosed)
		return nil, errClosed
	}
	s.used.Store(t.age.Add(1))
	s.recent.Store(true)
	if victim != nil {
		t.removeLocked(victim)
		defer r.giveWay(victim)
	}
	t.addLocked(s)
	// The policy may have changed before the table had s.
	r.policy.adopt(s)
	return s, nil
}

// giveWay stops following a service that was removed from the table to make room. Calls
// in flight to it go on; its connections end when they are idle.
func (r *Router) giveWay(s *Service) {
	s.end(errGaveWay)
	r.services.forgotten.Add(1)
	if r.services.gaveWay.Add(1) == 1 {
		r.cfg.Logger.Warn("link: the node calls more services than it can remember; the least recently used are forgotten and looked up again when called",
			"limit", maxServices, "service", s.name)
	}
}

// Why a service is no longer followed.
var (
	errGaveWay  = errors.New("the node follows too many services, and this one was the least recently used")
	errDeserted = errors.New("the service had no instances and was unused")
)

// desert forgets the service if it has no instances and nobody needs it, and reports whether it did: following a name
// has a cost for the registry, and anybody may make up names. A service that the topology may send calls to is needed,
// because another one may fail.
func (s *Service) desert() bool {
	r := s.router
	t := &r.services
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.inhabited() || s.pins.Load() > 0 || s.recent.Load() || r.policy.current().Reached(s.name) || t.get(s.name) != s {
		return false
	}
	t.removeLocked(s)
	t.forgotten.Add(1)
	s.end(errDeserted)
	return true
}

// inhabited reports whether the registry knows an instance, or an instance that it has lost is held.
func (s *Service) inhabited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members)+len(s.leftOut) > 0
}

// pin keeps the service from being forgotten until unpin is called, and for a while after that: a caller
// that waited for its instances looks at them then, and may wait again.
func (s *Service) pin() (unpin func()) {
	s.pins.Add(1)
	return func() {
		// This comes before the pin is removed, because desert checks pins first.
		s.use()
		s.pins.Add(-1)
	}
}

// follow applies snapshots until the node closes or the service is forgotten. Calls
// wait for the first snapshot and, for policyWait at most, for the registry's topology.
func (s *Service) follow(ctx context.Context, snapshots <-chan discovery.Snapshot, ruled <-chan struct{}) {
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
				// The registry is closed; what is known stays in use.
				<-ctx.Done()
				return
			}
			last, seen = snapshot, true
		case <-held.C:
		case <-ruled:
			ruled, decided = nil, true
		case <-patience.C:
			if !decided {
				s.router.cfg.Logger.Warn("link: the registry has not reported which topology is in force; calls use what is known", "service", s.name, "after", policyWait)
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
		// The registry may know by now where this node is.
		s.router.policy.adopt(s)
		if applied && decided {
			s.knownOnce.Do(func() { close(s.known) })
		}
	}
}

// changed returns a channel that is closed when the instances change.
func (s *Service) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.change.C()
}

// wait blocks until calls to the service may begin. It returns an error if ctx, the
// deadline or the lifetime of the service ends before.
func (s *Service) wait(ctx context.Context, deadline time.Time) error {
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
		return errorf(codes.DeadlineExceeded, "%s did not report in time %s for %s", Describe(s.router.cfg.Registry), what, s.name)
	case <-ctx.Done():
		return errorf(ended(ctx), "while looking for %s in %s: %w", s.name, Describe(s.router.cfg.Registry), context.Cause(ctx))
	case <-s.life.Done():
		if s.router.cfg.Group.Context().Err() == nil {
			return errorf(codes.Unavailable, "looking for %s: %w; a further call looks for it again", s.name, context.Cause(s.life))
		}
		return errClosed
	}
}
