// Package presence announces a node: the tags that it has at this moment, and its registration, which is told again
// whenever they change.
//
// A [Presence] belongs to one node. It knows the registry and nothing of calls or handlers; who tells the peers that are
// connected is given to it.
package presence

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/backoff"
	"github.com/linkmesh/link/internal/lifecycle"
	"github.com/linkmesh/link/internal/notify"
)

// When new tags are announced.
const (
	// tagsPause is the least time between two announcements of tags, so that frequent
	// changes keep neither peers nor the registry busy.
	tagsPause = 100 * time.Millisecond
	// tagsRetry is the pause before a failed update of the registry is retried.
	tagsRetry = time.Second
	// registryWait bounds one update of the registry. A drain does not wait longer,
	// because connected peers learn of the drain directly.
	registryWait = time.Second
)

// registering spaces the attempts to register with a registry that cannot be reached.
var registering = backoff.Backoff{Least: 500 * time.Millisecond, Most: 5 * time.Second} //nolint:gochecknoglobals // a constant

// ErrClosed is the error of [Presence.Begin] if the presence was closed meanwhile.
var ErrClosed = errors.New("the node is closed")

// Config is what a presence needs of its node. All fields are required, except for Tags and Probes.
type Config struct {
	Registry discovery.Registry
	// Instance is the node as the registry shall show it, without its address, tags and status.
	Instance discovery.Instance
	// Tags are those that the node always has.
	Tags []string
	// Probes decide about further tags, by tag.
	Probes map[string]func(ctx context.Context) error
	// TellPeers tells the connected peers about new tags.
	TellPeers func(tags []string)
	Logger    *slog.Logger
	// Group owns the goroutines of the presence.
	Group *lifecycle.Group
}

// Presence is what a node announces. It is safe for concurrent use.
type Presence struct {
	cfg Config
	// tags holds all tags, sorted.
	tags atomic.Pointer[[]string]
	// changed is set when announce should look at the tags.
	changed notify.Flag
	// updates are requests for an update of the registry at once. The goroutine of announce makes all updates, so that
	// there is one at a time and the last one is the newest.
	updates chan update

	mu sync.Mutex // guards the fields below, and writes of tags
	// probed holds whether the probe of a tag succeeds.
	probed map[string]bool
	// added holds how often a tag was added.
	added        map[string]int
	addr         string
	status       discovery.Status
	registration discovery.Registration
	closed       bool
}

// update is a request for an update of the registry.
type update struct {
	ctx  context.Context //nolint:containedctx // it bounds the update, which another goroutine makes
	done chan error
}

// New returns the presence of a node that is not announced yet.
func New(cfg Config) *Presence {
	p := &Presence{
		cfg: cfg, changed: notify.NewFlag(), updates: make(chan update), status: discovery.Serving,
		probed: make(map[string]bool), added: make(map[string]int),
	}
	// No lock is needed, because nothing else has p yet. Nobody needs to be told.
	p.settleLocked()
	p.changed.Clear()
	return p
}

// Begin announces the node, which listens at addr, and returns when the registry has accepted it. First it waits until
// each probe has run once, so that the node is announced with the right tags. While the registry is not available, Begin
// tries again until ctx ends: the node serves peers that know its address, and is found when the registry is back.
//
// The error is that of the registry, or ErrClosed. Begin is called once.
func (p *Presence) Begin(ctx context.Context, addr string) error {
	p.mu.Lock()
	p.addr = addr
	p.mu.Unlock()
	p.watch(ctx)
	p.cfg.Group.Go(p.announce)
	registration, tags, err := p.register(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.registration = registration
	}
	p.mu.Unlock()
	if closed {
		return errors.Join(ErrClosed, registration.Close())
	}
	// The tags may have changed before there was a registration to update.
	if !slices.Equal(tags, p.Tags()) {
		p.changed.Set()
	}
	return nil
}

// register registers the node, and returns the tags that the registry was told.
func (p *Presence) register(ctx context.Context) (discovery.Registration, []string, error) {
	for failures := 1; ; failures++ {
		in := p.describe()
		registration, err := p.cfg.Registry.Register(ctx, in)
		if err == nil || !errors.Is(err, discovery.ErrUnavailable) {
			return registration, in.Tags, err
		}
		if failures == 1 {
			p.cfg.Logger.Warn("link: the registry cannot be reached; the node serves, and is announced when it can be", "error", err)
		}
		if registering.Wait(ctx, failures) != nil {
			return nil, nil, err
		}
	}
}

// describe returns the node as the registry should show it now.
func (p *Presence) describe() discovery.Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.cfg.Instance
	in.Addr, in.Tags, in.Status = p.addr, p.Tags(), p.status
	return in
}

// Drain tells the registry that the node drains. It does nothing if the node is not announced. It blocks until the
// registry has been told, ctx ends, or a second has passed.
func (p *Presence) Drain(ctx context.Context) error {
	p.mu.Lock()
	p.status = discovery.Draining
	announced := p.registration != nil && !p.closed
	p.mu.Unlock()
	if !announced {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, registryWait)
	defer cancel()
	u := update{ctx, make(chan error, 1)}
	select {
	case p.updates <- u:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.cfg.Group.Context().Done():
		return ErrClosed
	}
	select {
	case err := <-u.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close withdraws the node from the registry. Further calls do nothing. The goroutines of the presence end with its
// group.
func (p *Presence) Close() error {
	p.mu.Lock()
	registration := p.registration
	p.registration, p.closed = nil, true
	p.mu.Unlock()
	if registration == nil {
		return nil
	}
	return registration.Close()
}

// announce tells peers and the registry about changes, until ctx ends. A failed
// update of the registry is retried until it succeeds.
func (p *Presence) announce(ctx context.Context) {
	retry := time.NewTimer(tagsRetry)
	retry.Stop()
	defer retry.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	// paused is the channel of pause until it has been received from.
	paused := pause.C
	for failing := false; ; {
		changed, again := p.changed, retry.C
		if paused != nil {
			changed, again = nil, nil
		}
		select {
		case <-ctx.Done():
			return
		case u := <-p.updates:
			// This is for a drain, which does not wait for the pause.
			u.done <- p.update(u.ctx) //nolint:contextcheck // the drain bounds its update
			continue
		case <-paused:
			paused = nil
			continue
		case <-changed:
			p.cfg.TellPeers(p.Tags())
		case <-again:
		}
		err := p.update(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			p.cfg.Logger.Warn("link: the registry did not take the new tags; trying again every second", "error", err)
		}
		if failing = err != nil; failing {
			retry.Reset(tagsRetry)
		} else {
			retry.Stop()
		}
		pause.Reset(tagsPause)
		paused = pause.C
	}
}

// update tells the registry the current state of the node. It does nothing before the node is announced.
func (p *Presence) update(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registryWait)
	defer cancel()
	p.mu.Lock()
	registration := p.registration
	p.mu.Unlock()
	if registration == nil {
		return nil
	}
	return registration.Update(ctx, p.describe())
}
