//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/internal/feed"
)

// Registry implements discovery.Registry, discovery.Finder, discovery.Describer and io.Closer.
type Registry struct {
	dir   directory
	coder coder
	every time.Duration
	log   *slog.Logger
	feed  *feed.Feed
	names *feed.Names
	poke  chan struct{} // holds one wish for a round before the next tick

	making  sync.WaitGroup // Register calls under way
	polling sync.WaitGroup
	closing sync.Once
	closed  error // what the first Close returned

	mu            sync.Mutex // guards the fields below
	stop          context.CancelFunc
	shut          bool
	registrations map[string]*registration // by ID, those being made as well
}

// New returns a registry for the directory that cfg means. It touches nothing: the directory is
// made and checked by the first Register or Watch, which return ErrUnsafeDir. The error is
// ErrInvalidConfig or, on systems without flock, ErrUnsupported.
func New(cfg Config) (*Registry, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	dir, err := newDirectory(cfg)
	if err != nil {
		return nil, err
	}
	c, err := newCoder()
	if err != nil {
		return nil, err
	}
	if dir.instead != nil {
		cfg.Logger.Warn("local registry: somebody else has the usual directory; using one in the home directory of this user. "+
			"Processes that began before that happened are not found: restart them",
			"path", dir.path, "reason", dir.instead)
	}
	return &Registry{
		dir:           dir,
		coder:         c,
		every:         cfg.Poll,
		log:           cfg.Logger,
		feed:          feed.NewFrom("local", discovery.FromHost),
		names:         feed.NewNames(),
		poke:          make(chan struct{}, 1),
		registrations: make(map[string]*registration),
	}, nil
}

// Describe implements discovery.Describer: it names the directory.
func (r *Registry) Describe() string { return "local registry " + r.dir.path }

// Register implements discovery.Registry. It writes one file and waits only while a dead
// process's file of the same ID is in the way, at most about 50 ms. Beside the errors of the
// interface it returns ErrUnsafeDir and those of the file system.
func (r *Registry) Register(ctx context.Context, in discovery.Instance) (discovery.Registration, error) {
	if err := in.Validate(); err != nil {
		return nil, fmt.Errorf("local: register: %w", err)
	}
	in = in.Normalized()
	g, err := r.register(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("local: register %s: %w", in.ID, err)
	}
	r.wake()
	return g, nil
}

func (r *Registry) register(ctx context.Context, in discovery.Instance) (*registration, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := r.coder.encode(in)
	if err != nil {
		return nil, err
	}
	g := newRegistration(r, in, data)
	if err := r.reserve(g); err != nil { //nolint:contextcheck // the poller outlives this call
		return nil, err
	}
	defer r.making.Done()
	if g.file, err = r.dir.publish(ctx, g.name, data); err != nil {
		r.forget(g)
		return nil, err
	}
	r.enter(g)
	g.release()
	return g, nil
}

// reserve enters g, whose maker has the turn, and counts it as being made.
func (r *Registry) reserve(g *registration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.startLocked(); err != nil {
		return err
	}
	if _, ok := r.registrations[g.id]; ok {
		return discovery.ErrDuplicateID
	}
	if n := len(r.registrations); n >= MaxRegistrations {
		return fmt.Errorf("%w: %d instances are registered here", discovery.ErrLimit, n)
	}
	r.registrations[g.id] = g
	r.making.Add(1)
	return nil
}

// enter makes g one of those that the poller keeps in order.
func (r *Registry) enter(g *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g.made = true
}

func (r *Registry) forget(g *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.registrations, g.id)
}

// Watch implements discovery.Registry. It makes and checks the directory and does not wait for
// the first scan. Beside the errors of the interface it returns ErrUnsafeDir and those of the
// file system.
func (r *Registry) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	ch, err := r.watch(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	r.wake()
	return ch, nil
}

func (r *Registry) watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if err := r.ready(); err != nil { //nolint:contextcheck // the poller outlives this call
		return nil, fmt.Errorf("watch %s: %w", q, err)
	}
	return r.feed.Watch(ctx, q)
}

// Find implements discovery.Finder, as Watch does discovery.Registry.
func (r *Registry) Find(ctx context.Context, q discovery.TagQuery) (<-chan []string, error) {
	ch, err := r.find(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	r.wake()
	return ch, nil
}

func (r *Registry) find(ctx context.Context, q discovery.TagQuery) (<-chan []string, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if err := r.ready(); err != nil { //nolint:contextcheck // the poller outlives this call
		return nil, fmt.Errorf("find %s: %w", q, err)
	}
	return r.names.Find(ctx, q)
}

// ready starts the poller unless it runs, and makes and checks the directory.
func (r *Registry) ready() error {
	if err := r.start(); err != nil {
		return err
	}
	return r.dir.prepare()
}

func (r *Registry) start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.startLocked()
}

// startLocked starts the poller unless it runs.
func (r *Registry) startLocked() error {
	if r.shut {
		return discovery.ErrClosed
	}
	if r.stop != nil {
		return nil
	}
	// The poller belongs to the Registry and outlives the call that happens to start it.
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	log := newLimitedLog(r.log)
	p := &poller{registry: r, scanner: newScanner(r.dir, r.coder, log)}
	if r.dir.twin != nil {
		p.twin = newScanner(*r.dir.twin, r.coder, log)
	}
	r.polling.Go(func() { p.run(ctx) })
	return nil
}

// wake asks the poller for a round now.
func (r *Registry) wake() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
}

// Close withdraws every registration, closes the channels of all watches and waits for the
// poller. It is idempotent; later calls return what the first one did.
func (r *Registry) Close() error {
	r.closing.Do(func() {
		r.mu.Lock()
		r.shut = true
		if r.stop != nil {
			r.stop()
		}
		r.mu.Unlock()
		r.polling.Wait()
		r.making.Wait()
		r.feed.Close()
		r.names.Close()
		var errs []error
		for _, g := range r.open() {
			errs = append(errs, g.Close())
		}
		r.closed = errors.Join(errs...)
	})
	return r.closed
}

// open returns the registrations of this moment whose files have been published.
func (r *Registry) open() []*registration {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*registration, 0, len(r.registrations))
	for _, g := range r.registrations {
		if g.made {
			all = append(all, g)
		}
	}
	return all
}
