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
	owner string // random: tells registrations of this Registry from those of others with the same ID

	// turn holds a token while nobody talks to the agent about the instance; whoever takes it owns
	// the fields below. A channel, because Update must give up when its context ends.
	turn        chan struct{}
	in          discovery.Instance
	reg         *api.AgentServiceRegistration // what in becomes; nil until the first push
	attempted   bool                          // the agent may hold something of ours
	behind      bool                          // the agent does not hold all of in
	unanswered  bool                          // a write had no answer: the agent may apply it at any time
	maintenance bool                          // was turned on
	lost        bool                          // another process has taken the ID over
	closed      bool

	group *lifecycle.Group // runs the heartbeats; its context ends all that is said to the agent
}

// newRegistration returns a registration whose turn the caller has.
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

// announce makes the instance known for the first time. The error says why it is not.
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
	// Another process may have looked before either wrote. The last writer has the ID.
	h, err = g.r.client.held(ctx, what, g)
	if err != nil {
		return err
	}
	if h.service != nil {
		g.r.learn(h.service.Datacenter)
	}
	if h.service != nil && h.owner != g.owner {
		g.attempted = false // what the agent holds is the other's
		return g.duplicate(what, h)
	}
	return nil
}

func (g *registration) duplicate(what string, h holding) error {
	return fmt.Errorf("consul: %s: %w: by service %s at %s port %d; let each process make its ID with discovery.NewInstanceID",
		what, discovery.ErrDuplicateID, printable(h.service.Service), printable(h.service.Address), h.service.Port)
}

// abandon ends a registration that was not made, and takes back what the agent may hold of it.
func (g *registration) abandon() {
	g.group.Stop(discovery.ErrClosed)
	if g.attempted {
		g.withdraw()
	}
	g.closed = true
	g.release()
}

// push makes the agent hold what in says. The steps are in an order that lets nobody see a mixture.
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
		// link's watchers know it from the meta data already. This is for everybody else.
		if err := c.maintain(ctx, what, g, true); err != nil {
			g.r.lines.warn("consul registry: draining instance is not in maintenance mode yet", "id", g.id, "reason", err)
			return nil // behind: the next heartbeat tries again
		}
		g.maintenance = true
	}
	g.behind = false
	return nil
}

// Update implements discovery.Registration. When it is not known whether the agent took the
// change, the error wraps ErrUnavailable and the heartbeats go on trying.
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
	if err := discovery.CheckUpdate(g.id, g.query, in); err != nil {
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
		g.in, g.behind = before, behind // it was not taken, and will not be
	}
	return err
}

// replace pushes over what the agent holds, unless that is another's by now.
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

// Close implements discovery.Registration. It takes CloseTime at most, and returns nil even if the
// agent could not be told: then the heartbeats end, and Consul finds out within CheckTTL.
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

// withdraw removes the instance from the agent unless it is another's by now. It outlives the
// contexts of registration and registry, for a bounded time. If the agent may hold the instance all
// the same, or come to hold it, its owner is remembered for the next registration of the ID.
func (g *registration) withdraw() {
	err := g.remove()
	if err != nil || g.unanswered {
		g.r.keepOwner(g.id, g.owner)
	}
	if err != nil {
		g.r.lines.warn("consul registry: instance could not be withdrawn; Consul will see that its heartbeats have ended",
			"id", g.id, "service", g.query, "within", CheckTTL, "reason", err)
	}
}

func (g *registration) remove() error {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(g.group.Context()), CloseTime, errNoTime)
	defer cancel()
	what := g.what("withdraw")
	h, err := g.r.client.held(ctx, what, g)
	if err != nil || h.service == nil || h.owner != g.owner {
		return err
	}
	return g.r.client.remove(ctx, what, g)
}

var errNoTime = fmt.Errorf("%w: no answer within %v", ErrUnavailable, CloseTime)

// start begins the heartbeats, unless the registration is being closed already, and lets others
// have the turn.
func (g *registration) start() {
	g.group.Go(g.keep)
	g.release()
}
