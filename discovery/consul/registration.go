package consul

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/lifecycle"
)

// registration is one announced instance of this process.
type registration struct {
	r     *Registry
	id    string
	query discovery.Query

	// owner is random. It distinguishes this Registry's entries from others with the same ID.
	owner string

	// turn guards the fields up to closed: it holds a token that a goroutine takes before it talks to
	// the agent about the instance. It is a channel because Update must stop waiting when its context
	// ends.
	turn chan struct{}
	in   discovery.Instance

	// reg is in encoded. It is nil until the first push.
	reg *api.AgentServiceRegistration

	// attempted means that the agent may hold an entry of this registration.
	attempted bool

	// behind means that the agent does not have the whole of in.
	behind bool

	// unanswered means that a write got no answer: the agent may apply it at any time.
	unanswered bool

	// maintenance means that this registration has turned on maintenance mode.
	maintenance bool

	// lost means that another process has taken over the ID.
	lost   bool
	closed bool

	// group runs the heartbeats. Its context ends all requests about the instance.
	group *lifecycle.Group
}

// newRegistration returns a registration. The caller has its turn.
func newRegistration(r *Registry, in discovery.Instance) *registration {
	return &registration{
		r: r, id: in.ID, query: in.Query(), owner: r.ownerOf(in.ID), in: in,
		turn:  make(chan struct{}, 1),
		group: lifecycle.New(r.group.Context()),
	}
}

func (g *registration) release() { g.turn <- struct{}{} }

func (g *registration) what(verb string) string {
	return verb + " " + g.id + " of " + g.query.Service
}

// announce registers the instance for the first time.
func (g *registration) announce(ctx context.Context) error {
	what := g.what("register")
	h, err := g.r.client.held(ctx, what, g)
	if err != nil {
		return err
	}
	if h.foreign(g) {
		return g.duplicate(what, h)
	}
	if err := g.push(ctx, what, true); err != nil {
		return err
	}
	// Another process may have looked up the ID before either wrote. The last writer owns the ID.
	h, err = g.r.client.held(ctx, what, g)
	if err != nil {
		return err
	}
	if h.service != nil {
		g.r.learn(h.service.Datacenter)
	}
	if h.service != nil && h.owner != g.owner {
		g.attempted = false
		return g.duplicate(what, h)
	}
	return nil
}

func (g *registration) duplicate(what string, h holding) error {
	return fmt.Errorf("consul: %s: %w: by service %s at %s port %d; let each process make its ID with discovery.NewInstanceID",
		what, discovery.ErrDuplicateID, printable(h.service.Service), printable(h.service.Address), h.service.Port)
}

// abandon ends a registration that failed, and withdraws any entry that the agent may have.
func (g *registration) abandon() {
	g.group.Stop(discovery.ErrClosed)
	if g.attempted {
		g.withdraw()
	}
	g.closed = true
	g.release()
}

// push writes g.in to the agent. The order of its steps keeps watchers from seeing a mixed state.
func (g *registration) push(ctx context.Context, what string, fresh bool) error {
	reg, err := encode(g.in, g.owner)
	if err != nil {
		return fmt.Errorf("consul: %s: %w", what, err)
	}
	g.behind = true
	c := g.r.client
	draining := g.in.Status == discovery.Draining
	if g.maintenance && !draining {
		if err := c.maintain(ctx, what, g, false); err != nil && kindOf(err) != missing {
			return err
		}
		g.maintenance = false
	}
	g.attempted = true
	if err := c.put(ctx, what, reg, fresh); err != nil {
		g.unanswered = g.unanswered || !refusedWhole(err)
		return err
	}
	g.reg = reg
	if draining && !g.maintenance {
		// Watchers that use link know it from the meta data. Maintenance mode is for all others.
		if err := c.maintain(ctx, what, g, true); err != nil {
			g.r.lines.Warn("consul registry: draining instance is not in maintenance mode yet", "id", g.id, "reason", err)
			// g.behind stays set, so the next heartbeat tries again.
			return nil
		}
		g.maintenance = true
	}
	g.behind = false
	return nil
}

// Update implements discovery.Registration. If it is not known whether the agent applied the change,
// the error wraps discovery.ErrUnavailable and the heartbeats keep trying.
func (g *registration) Update(ctx context.Context, in discovery.Instance) error {
	if err := g.update(ctx, in); err != nil {
		if _, ok := errors.AsType[*failure](err); ok {
			return err
		}
		return fmt.Errorf("consul: update %s: %w", g.id, err)
	}
	return nil
}

func (g *registration) update(ctx context.Context, in discovery.Instance) error {
	if err := check(in); err != nil {
		return err
	}
	in = in.Normalized()
	if err := in.ValidateUpdate(g.id, g.query); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := bind(ctx, g.group)
	defer cancel()
	select {
	case <-g.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer g.release()
	switch {
	case g.closed:
		return discovery.ErrClosed
	case g.lost:
		return fmt.Errorf("%w by another process", discovery.ErrDuplicateID)
	}
	before, behind := g.in, g.behind
	g.in, g.behind = in, true
	err := g.replace(ctx)
	if errors.Is(err, ErrDenied) || kindOf(err) == refused {
		// The agent did not apply the update, and a retry will not help.
		g.in, g.behind = before, behind
	}
	return err
}

// replace overwrites the agent's entry, unless it belongs to another process by now.
func (g *registration) replace(ctx context.Context) error {
	h, err := g.r.client.held(ctx, g.what("update"), g)
	if err != nil {
		return err
	}
	if h.foreign(g) {
		g.lose(h)
		return fmt.Errorf("%w by another process", discovery.ErrDuplicateID)
	}
	return g.push(ctx, g.what("update"), false)
}

// Close implements discovery.Registration. It takes 2 s at most, and returns nil even if the
// agent could not be reached: the heartbeats end, and the check expires within 15 s.
func (g *registration) Close() error {
	g.group.Stop(discovery.ErrClosed)
	g.group.Wait()
	<-g.turn
	defer g.release()
	if g.closed {
		return nil
	}
	g.closed = true
	if !g.lost {
		g.withdraw()
	}
	g.r.forget(g)
	return nil
}

// withdraw removes the instance from the agent, unless it belongs to another process by now. It
// outlives the contexts of registration and registry, for closeTime at most. If the agent may still
// have the instance, or add it later, its owner is remembered for the next registration of the ID.
func (g *registration) withdraw() {
	err := g.remove()
	if err != nil || g.unanswered {
		g.r.keepOwner(g.id, g.owner)
	}
	if err != nil {
		g.r.lines.Warn("consul registry: instance could not be withdrawn; Consul will remove it when its heartbeats time out",
			"id", g.id, "service", g.query, "within", checkTTL, "reason", err)
	}
}

func (g *registration) remove() error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(g.group.Context()), closeTime, errNoTime)
	defer cancel()
	what := g.what("withdraw")
	h, err := g.r.client.held(ctx, what, g)
	if err != nil || h.service == nil || h.owner != g.owner {
		return err
	}
	return g.r.client.remove(ctx, what, g)
}

var errNoTime = fmt.Errorf("consul: %w: no answer within %v", discovery.ErrUnavailable, closeTime)

// start starts the heartbeats, unless the registration is already being closed, and releases the
// turn.
func (g *registration) start() {
	g.group.Go(g.keep)
	g.release()
}
