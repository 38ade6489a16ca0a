package consul

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/internal/feed"
	"github.com/linkmesh/link/internal/lifecycle"
	"github.com/linkmesh/link/internal/limitlog"
)

// Registry implements discovery.Registry, discovery.Finder, discovery.PolicyWatcher,
// discovery.Describer and io.Closer.
type Registry struct {
	client *client

	// datacenters begins with "", the agent's own.
	datacenters []string

	tenancy
	log    *slog.Logger
	lines  *limitlog.Logger
	feed   *feed.Feed
	names  *feed.Names
	saver  *saver
	budget *budget

	// polls limits the concurrent queries of watches without a slot of the budget.
	polls chan struct{}
	group *lifecycle.Group

	// datacenter is the name of the agent's own datacenter, or nil until it is known.
	datacenter atomic.Pointer[string]

	// calls counts the open watches and the Register calls in flight.
	calls   sync.WaitGroup
	closing sync.Once

	mu       sync.Mutex // guards the fields below
	shut     bool
	saving   bool
	policies int
	watches
	announced
}

// tenancy is where the services of a registry are in Consul Enterprise.
type tenancy struct {
	namespace string
	partition string
}

// watches are what the program watches.
type watches struct {
	followers map[discovery.Query]*follower
	finders   map[discovery.TagQuery]*finder
	stops     map[*watch]struct{}
}

// announced is what the agent has of this registry.
type announced struct {
	// registrations is keyed by catalogKey and includes those that are not announced yet.
	registrations map[string]*registration

	// loose holds by ID the owners of entries that the agent may still have after their registration
	// has ended. looseIDs are its keys, the oldest first.
	loose    map[string]string
	looseIDs []string
}

// watch is one call of Watch or Find. stop is the result of context.AfterFunc.
type watch struct {
	stop func() bool
}

// New returns a registry for the agent that cfg and the environment specify. It reads the token and
// certificate files that they name and does no other I/O. No goroutine runs before the first Register
// or Watch. The error matches discovery.ErrInvalidConfig.
func New(cfg Config) (*Registry, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	lines := limitlog.New(cfg.Logger)
	s, err := newSaver(cfg.stateDir(), lines)
	if err != nil {
		return nil, err
	}
	return &Registry{
		client:      c,
		datacenters: cfg.sources(),
		tenancy:     tenancy{namespace: os.Getenv(api.HTTPNamespaceEnvName), partition: os.Getenv(api.HTTPPartitionEnvName)},
		log:         cfg.Logger,
		lines:       lines,
		feed:        feed.New("consul"),
		names:       feed.NewNames(),
		saver:       s,
		budget:      newBudget(),
		polls:       make(chan struct{}, pollers),
		group:       lifecycle.New(context.Background()),
		watches: watches{
			followers: make(map[discovery.Query]*follower), finders: make(map[discovery.TagQuery]*finder), stops: make(map[*watch]struct{}),
		},
		announced: announced{registrations: make(map[string]*registration), loose: make(map[string]string)},
	}, nil
}

// Describe implements discovery.Describer: "Consul at 127.0.0.1:8500 (dc1)". The datacenter is
// included once it is known.
func (r *Registry) Describe() string {
	text := "Consul at " + r.client.address
	if dc := r.datacenter.Load(); dc != nil {
		text += " (" + *dc + ")"
	}
	return text
}

// String returns the same as Describe. It contains no secret.
func (r *Registry) String() string { return r.Describe() }

// GoString returns the same as Describe.
func (r *Registry) GoString() string { return r.Describe() }

// LogValue implements slog.LogValuer.
func (r *Registry) LogValue() slog.Value { return slog.StringValue(r.Describe()) }

// learn stores the name of the agent's own datacenter.
func (r *Registry) learn(dc string) {
	if old := r.datacenter.Load(); dc != "" && (old == nil || *old != dc) {
		r.datacenter.Store(&dc)
	}
}

// Watch implements discovery.Registry. It does not block: the first snapshot comes when Consul has
// answered or failed.
func (r *Registry) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	ch, f, err := r.watch(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	f.publish()
	return ch, nil
}

func (r *Registry) watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, *follower, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := q.Validate(); err != nil {
		return nil, nil, err
	}
	q = q.Normalized()
	if r.shut {
		return nil, nil, fmt.Errorf("watch %s: %w", q, discovery.ErrClosed)
	}
	ch, err := r.feed.Watch(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	f := r.followers[q]
	if f == nil {
		f = newFollower(r, q)
		r.followers[q] = f
		r.startLocked(f, &f.following) //nolint:contextcheck // the sources outlive this call
	}
	r.attachLocked(ctx, &f.following, func() {
		if r.followers[q] == f {
			delete(r.followers, q)
		}
	})
	return ch, f, nil
}

// attachLocked counts a watch of f until ctx ends. The end of the last watch ends f, after forget,
// which is called with r.mu held, has removed it from the registry.
func (r *Registry) attachLocked(ctx context.Context, f *following, forget func()) {
	f.watches++
	w := &watch{}
	r.calls.Add(1)
	r.stops[w] = struct{}{}
	w.stop = context.AfterFunc(ctx, func() {
		defer r.calls.Done()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.stops, w)
		if f.watches--; f.watches == 0 {
			forget()
			f.end()
		}
	})
}

// saveLocked starts the saver if it is not running yet.
func (r *Registry) saveLocked() {
	if !r.saving && r.saver != nil {
		r.saving = true
		r.group.Go(r.saver.run)
	}
}

// startLocked starts the sources of about, one for each datacenter. f is the following of about.
func (r *Registry) startLocked(about subject, f *following) {
	r.saveLocked()
	ctx, stop := context.WithCancel(r.group.Context())
	f.stop = stop
	for n, dc := range r.datacenters {
		s := &source{r: r, f: about, n: n, dc: dc}
		r.group.Go(func(context.Context) { s.run(ctx) })
	}
}

// overloaded frees connections of an overloaded agent.
func (r *Registry) overloaded(now time.Time) {
	r.budget.overloaded(now)
	r.client.transport.CloseIdleConnections()
}

// pollTurn waits for one of the shared connections. It returns false if ctx ends before.
func (r *Registry) pollTurn(ctx context.Context) (done func(), ok bool) {
	select {
	case r.polls <- struct{}{}:
		return func() { <-r.polls }, true
	case <-ctx.Done():
		return nil, false
	}
}

// Close withdraws every registration, closes the channels of all watches and waits for all
// goroutines. It takes 2 s at most. Registrations that cannot be withdrawn by then are logged,
// and their checks expire without heartbeats. It is idempotent and returns nil.
func (r *Registry) Close() error {
	r.closing.Do(func() {
		r.mu.Lock()
		r.shut = true
		for w := range r.stops {
			if w.stop() {
				r.calls.Done()
			}
		}
		clear(r.stops)
		for _, f := range r.followers {
			f.end()
		}
		clear(r.followers)
		for _, f := range r.finders {
			f.end()
		}
		clear(r.finders)
		open := make([]*registration, 0, len(r.registrations))
		for _, g := range r.registrations {
			open = append(open, g)
		}
		r.mu.Unlock()

		r.group.Stop(discovery.ErrClosed)
		var wg sync.WaitGroup
		for _, g := range open {
			wg.Go(func() { _ = g.Close() })
		}
		wg.Wait()
		r.calls.Wait()
		r.group.Wait()
		r.feed.Close()
		r.names.Close()
		r.client.close()
	})
	return nil
}

// Register implements discovery.Registry. It checks that the ID is free, writes, and checks that it
// was the last to write. Meta keys must not begin with "link-" or "consul-"; otherwise the error is
// ErrInvalidInstance. In addition to the errors of the interface it returns ErrDenied, and
// discovery.ErrUnavailable if the agent cannot be reached or has failed. If it is not known whether
// Consul accepted the instance, Register spends up to 2 s on withdrawing it.
func (r *Registry) Register(ctx context.Context, in discovery.Instance) (discovery.Registration, error) {
	g, err := r.register(ctx, in)
	if err != nil {
		return nil, err
	}
	return g, nil
}

func (r *Registry) register(ctx context.Context, in discovery.Instance) (*registration, error) {
	if err := check(in); err != nil {
		return nil, fmt.Errorf("consul: register: %w", err)
	}
	in = in.Normalized()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("consul: register %s: %w", in.ID, err)
	}
	g := newRegistration(r, in) //nolint:contextcheck // the registration outlives this call
	if err := r.reserve(g); err != nil {
		return nil, fmt.Errorf("consul: register %s: %w", in.ID, err)
	}
	defer r.calls.Done()
	ctx, cancel := bind(ctx, r.group)
	defer cancel()
	if err := g.announce(ctx); err != nil {
		g.abandon() //nolint:contextcheck // ctx may have ended, and what the agent holds must go
		// Forget g only after abandon has recorded its owner for the next registration of the ID.
		r.forget(g)
		return nil, r.client.advised(err)
	}
	g.start()
	return g, nil
}

// reserve adds g to the registrations and counts the Register call. The caller has the turn of g.
func (r *Registry) reserve(g *registration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shut {
		return discovery.ErrClosed
	}
	key := catalogKey(g.id)
	if old, ok := r.registrations[key]; ok {
		return fmt.Errorf("%w in this process, as %s", discovery.ErrDuplicateID, old.id)
	}
	if n := len(r.registrations); n >= maxRegistrations {
		return fmt.Errorf("%w: %d instances are registered here", discovery.ErrLimit, n)
	}
	r.registrations[key] = g
	r.calls.Add(1)
	return nil
}

func (r *Registry) forget(g *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := catalogKey(g.id); r.registrations[key] == g {
		delete(r.registrations, key)
	}
}

// catalogKey returns the key of an ID in the catalog of Consul's servers, which ignores case. The
// agent does not, so two instances that differ only in case would overwrite each other there.
func catalogKey(id string) string { return strings.ToLower(id) }
