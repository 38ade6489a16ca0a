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
	"github.com/linkmesh/link/internal/limitlog"
	"github.com/linkmesh/link/internal/notify"
)

// Registry implements discovery.Registry, discovery.Finder, discovery.Describer and io.Closer.
type Registry struct {
	dir   directory
	coder coder
	every time.Duration
	log   *slog.Logger
	feed  *feed.Feed
	names *feed.Names

	// wake makes the poller run a round before the next tick.
	wake notify.Flag

	// making counts the Register calls in flight.
	making  sync.WaitGroup
	polling sync.WaitGroup
	closing sync.Once

	// closed is the result of the first Close.
	closed error

	mu   sync.Mutex // guards the fields below
	stop context.CancelFunc
	shut bool

	// registrations is keyed by ID and includes those whose file is not published yet.
	registrations map[string]*registration
}

// New returns a registry for the directory that cfg specifies. It does not touch the directory: the
// first Register or Watch creates and checks it, and returns ErrUnsafeDir if it is unsafe. The error
// matches discovery.ErrInvalidConfig, ErrUnsafeDir if another user has the usual directory and there
// is no other place, or, on systems without flock, errors.ErrUnsupported.
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
		cfg.Logger.Warn("local registry: the usual directory belongs to another user; using one in the home directory of this user. "+
			"Processes that started before that happened are not found: restart them",
			"path", dir.path, "reason", dir.instead)
	}
	return &Registry{
		dir:           dir,
		coder:         c,
		every:         cfg.Poll,
		log:           cfg.Logger,
		feed:          feed.NewFrom("local", discovery.FromHost),
		names:         feed.NewNames(),
		wake:          notify.NewFlag(),
		registrations: make(map[string]*registration),
	}, nil
}

// Describe implements discovery.Describer. The text contains the path of the directory.
func (r *Registry) Describe() string { return "local registry " + r.dir.path }

// Register implements discovery.Registry. It writes one file. It waits only while a file with the same
// ID is locked, at most about 50 ms. In addition to the errors of the interface it returns
// ErrUnsafeDir and those of the file system.
func (r *Registry) Register(ctx context.Context, in discovery.Instance) (discovery.Registration, error) {
	if err := in.Validate(); err != nil {
		return nil, fmt.Errorf("local: register: %w", err)
	}
	in = in.Normalized()
	g, err := r.register(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("local: register %s: %w", in.ID, err)
	}
	r.wake.Set()
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

// reserve adds g to the registrations and counts the Register call. The caller has the turn of g.
func (r *Registry) reserve(g *registration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.startLocked(); err != nil {
		return err
	}
	if _, ok := r.registrations[g.id]; ok {
		return discovery.ErrDuplicateID
	}
	if n := len(r.registrations); n >= maxRegistrations {
		return fmt.Errorf("%w: %d instances are registered here", discovery.ErrLimit, n)
	}
	r.registrations[g.id] = g
	r.making.Add(1)
	return nil
}

// enter marks g as published, so that the poller maintains its file.
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

// Watch implements discovery.Registry. It creates and checks the directory and does not wait for
// the first scan. In addition to the errors of the interface it returns ErrUnsafeDir and those of
// the file system.
func (r *Registry) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	ch, err := r.watch(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	r.wake.Set()
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

// Find implements discovery.Finder. Like Watch, it creates and checks the directory.
func (r *Registry) Find(ctx context.Context, q discovery.TagQuery) (<-chan []string, error) {
	ch, err := r.find(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("local: %w", err)
	}
	r.wake.Set()
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

// ready starts the poller unless it is running, and creates and checks the directory.
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

// startLocked starts the poller unless it is running.
func (r *Registry) startLocked() error {
	if r.shut {
		return discovery.ErrClosed
	}
	if r.stop != nil {
		return nil
	}
	// The poller outlives the call that starts it.
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	log := limitlog.New(r.log)
	p := &poller{registry: r, scanner: newScanner(r.dir, r.coder, log)}
	if r.dir.twin != nil {
		p.twin = newScanner(*r.dir.twin, r.coder, log)
	}
	r.polling.Go(func() { p.run(ctx) })
	return nil
}

// Close withdraws every registration, closes the channels of all watches and waits for the
// poller. It is idempotent; later calls return the result of the first.
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

// open returns the registrations whose files have been published.
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
