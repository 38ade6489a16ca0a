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
)

// Registry implements discovery.Registry, discovery.Finder, discovery.PolicyWatcher,
// discovery.Describer and io.Closer.
type Registry struct {
	client      *client
	datacenters []string // the agent's own, "", first
	namespace   string   // in Consul Enterprise, as is partition
	partition   string
	log         *slog.Logger
	lines       *limitedLog
	feed        *feed.Feed
	names       *feed.Names
	saver       *saver
	budget      *budget
	polls       chan struct{} // one place for each query of a watch that has none of its own
	group       *lifecycle.Group

	datacenter atomic.Pointer[string] // the agent's own, once known

	calls   sync.WaitGroup // Register, Update and Close calls under way
	closing sync.Once

	mu            sync.Mutex // guards the fields below
	shut          bool
	saving        bool
	policies      int
	followers     map[discovery.Query]*follower
	finders       map[discovery.TagQuery]*finder
	stops         map[*watch]struct{}
	registrations map[string]*registration // by catalogKey, those being made as well
	loose         map[string]string        // by ID: owners of what the agent may hold and nobody keeps
	looseIDs      []string                 // the IDs of loose, the oldest first
}

// watch is one call of Watch or Find.
type watch struct {
	stop func() bool // what context.AfterFunc returned
}

// New returns a registry for the agent that cfg and the environment mean. It reads the files they
// name (token, certificates) and does no other I/O: nothing runs before the first Register or
// Watch. The error is ErrInvalidConfig.
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
	lines := newLimitedLog(cfg.Logger)
	s, err := newSaver(cfg.stateDir(), lines)
	if err != nil {
		return nil, err
	}
	return &Registry{
		client:        c,
		datacenters:   cfg.sources(),
		namespace:     os.Getenv(api.HTTPNamespaceEnvName),
		partition:     os.Getenv(api.HTTPPartitionEnvName),
		log:           cfg.Logger,
		lines:         lines,
		feed:          feed.New("consul"),
		names:         feed.NewNames(),
		saver:         s,
		budget:        newBudget(),
		polls:         make(chan struct{}, pollers),
		group:         lifecycle.New(context.Background()),
		followers:     make(map[discovery.Query]*follower),
		finders:       make(map[discovery.TagQuery]*finder),
		stops:         make(map[*watch]struct{}),
		registrations: make(map[string]*registration),
		loose:         make(map[string]string),
	}, nil
}

// Describe implements discovery.Describer: "Consul at 127.0.0.1:8500 (dc1)". The datacenter is
// there once Consul has named it.
func (r *Registry) Describe() string {
	text := "Consul at " + r.client.address
	if dc := r.datacenter.Load(); dc != nil {
		text += " (" + *dc + ")"
	}
	return text
}

// String returns the same as Describe, and no secret.
func (r *Registry) String() string { return r.Describe() }

// GoString returns the same as Describe.
func (r *Registry) GoString() string { return r.Describe() }

// LogValue implements slog.LogValuer.
func (r *Registry) LogValue() slog.Value { return slog.StringValue(r.Describe()) }

// learn notes the name of the agent's own datacenter.
func (r *Registry) learn(dc string) {
	if old := r.datacenter.Load(); dc != "" && (old == nil || *old != dc) {
		r.datacenter.Store(&dc)
	}
}

// Watch implements discovery.Registry. It waits for nothing: the first snapshot comes when Consul
// has answered or failed to.
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

// attachLocked counts a watch of f until ctx ends. The last one to go ends f, after forget, which
// has the lock, has taken it out of the registry.
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

// saveLocked starts the saver with the first watch of all.
func (r *Registry) saveLocked() {
	if !r.saving && r.saver != nil {
		r.saving = true
		r.group.Go(r.saver.run)
	}
}

// startLocked starts the sources of about, whose parts f holds.
func (r *Registry) startLocked(about subject, f *following) {
	r.saveLocked()
	ctx, stop := context.WithCancel(r.group.Context())
	f.stop = stop
	for n, dc := range r.datacenters {
		s := &source{r: r, f: about, n: n, dc: dc}
		r.group.Go(func(context.Context) { s.run(ctx) })
	}
}

// overloaded makes room in an agent that has too many connections.
func (r *Registry) overloaded(now time.Time) {
	r.budget.overloaded(now)
	r.client.transport.CloseIdleConnections()
}

// pollTurn waits for one of the shared connections.
func (r *Registry) pollTurn(ctx context.Context) (done func(), ok bool) {
	select {
	case r.polls <- struct{}{}:
		return func() { <-r.polls }, true
	case <-ctx.Done():
		return nil, false
	}
}

// Close withdraws every registration, closes the channels of all watches and waits for all
// goroutines. It takes CloseTime at most: what cannot be withdrawn by then is logged, and Consul
// finds it out by the missing heartbeats. It is idempotent and returns nil.
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
			wg.Go(func() { _ = g.Close() }) // always nil
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

// Register implements discovery.Registry. It looks whether the ID is free, writes, and looks again
// whether it was the last to write. Meta keys may not begin with "link-" or "consul-". Beside the
// errors of the interface it returns ErrDenied, ErrUnavailable if the agent cannot be reached or is
// ill, and ErrInvalidInstance for such keys. When it is not known whether Consul took the instance, Register spends up to CloseTime on withdrawing it.
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
		r.forget(g) // only now: whoever registers the ID next is to know the owner of what is left
		return nil, r.client.advised(err)
	}
	g.start()
	return g, nil
}

// reserve enters g, whose maker has the turn, and counts the call that makes it.
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
	if n := len(r.registrations); n >= MaxRegistrations {
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

// catalogKey is what Consul's servers know an ID by: they do not tell upper from lower case, though
// the agent does, so two such instances would take turns in the catalog.
func catalogKey(id string) string { return strings.ToLower(id) }
