package link

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"time"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/place"
	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/tracing"
)

// Codec returns the codec of the node's messages, for patterns.
func (h Host) Codec() codec.Codec { return h.node.cfg.Codec }

// Tracer returns the tracer of the node, for the patterns of this module.
func (h Host) Tracer() *tracing.Tracer { return h.node.cfg.Tracer }

// Logger returns the logger of the node, for patterns that log.
func (h Host) Logger() *slog.Logger { return h.node.cfg.Logger }

// CallTimeout returns Config.Limits.CallTimeout, or its default: the timeout for an operation of
// a pattern whose context has no deadline.
func (h Host) CallTimeout() time.Duration { return h.node.cfg.Limits.CallTimeout }

// Service returns Config.Service, the name by which others find the node; "" for a client.
func (h Host) Service() string { return h.node.cfg.Service }

// HandleCall serves a unary route. It panics if the route belongs to another
// service, has a handler already, call lacks a function, or an option is out of range:
// these are mistakes of the program, as with http.ServeMux. It may be called while
// the node runs.
func (h Host) HandleCall(r Route, call CallHandler, opts ...HandleOption) {
	h.node.register(&handler{route: r, call: call}, opts)
}

// Handle serves a route with a stream, whose frames the pattern defines. It panics
// as [Host.HandleCall] does.
func (h Host) Handle(r Route, stream StreamHandler, opts ...HandleOption) {
	h.node.register(&handler{route: r, stream: stream}, opts)
}

func (n *Node) register(h *handler, opts []HandleOption) {
	for _, opt := range opts {
		opt.applyHandle(&h.config)
	}
	if err := n.check(h); err != nil {
		panic(failed("link.Handle", err)) //nolint:forbidigo // a programmer error at set-up
	}
	h.wrapped = n.serving
	n.routes.mu.Lock()
	defer n.routes.mu.Unlock()
	next := &routes{byName: make(map[routeKey]*handler)}
	if t := n.routes.table.Load(); t != nil {
		next.byID = append(next.byID, t.byID...)
		next.byName = maps.Clone(t.byName)
	}
	key := routeKey{h.route.Kind, h.route.Name}
	if next.byName[key] != nil {
		panic(failed("link.Handle", Errorf(AlreadyExists, "%s %s has a handler already", h.route.Kind, h.route))) //nolint:forbidigo // a programmer error at set-up
	}
	h.id = uint64(len(next.byID))
	next.byID = append(next.byID, h)
	next.byName[key] = h
	n.routes.table.Store(next)
	if e := n.endpoint.Load(); e != nil {
		e.AnnounceRoutes(h.id, []wire.RouteInfo{h.info()})
	}
}

func (n *Node) check(h *handler) error {
	if err := h.route.Validate(); err != nil {
		return err
	}
	if h.config.guarded && h.config.authorize == nil {
		return Errorf(InvalidArgument, "Authorize(nil) for %s would let everybody in; leave the option out if that is intended", h.route)
	}
	if h.stream == nil && (h.call.Serve == nil || h.call.New == nil) {
		return Errorf(InvalidArgument, "the handler of %s is nil", h.route)
	}
	if n.cfg.Service == "" {
		return Errorf(InvalidArgument, "route %s belongs to service %q, and this node serves none: set Config.Service", h.route, h.route.Service)
	}
	if h.route.Service != n.cfg.Service {
		return Errorf(InvalidArgument, "route %s belongs to service %q, but this node serves %q", h.route, h.route.Service, n.cfg.Service)
	}
	if m := h.config.maxMessage; h.config.sized && m < 1 || m > maxMessageCap {
		return Errorf(InvalidArgument, "MaxMessage of %s is %d, want 1 to %d", h.route, m, maxMessageCap)
	}
	return nil
}

// Extension returns the value that a pattern stores with the node under key. As with
// [context.WithValue], key should be of a type of the pattern's own. The first call
// makes the value with create, which must not call Extension. The value lives as long
// as the node; its goroutines should end with streams or with the contexts of their
// callers, or be started by [Host.Go].
func (h Host) Extension(key any, create func() any) any {
	n := h.node
	n.extensions.mu.Lock()
	defer n.extensions.mu.Unlock()
	if v, ok := n.extensions.values[key]; ok {
		return v
	}
	v := create()
	if n.extensions.values == nil {
		n.extensions.values = map[any]any{}
	}
	n.extensions.values[key] = v
	return v
}

// Go runs f on a goroutine of the node, for patterns. The context of f ends when the
// node closes, after it has drained, and [Node.Close] waits for f to return. Go reports
// false, and does not run f, if the node is closed.
func (h Host) Go(f func(ctx context.Context)) bool { return h.node.group.Go(f) }

// Follow sends the instances that a route may reach, by the topology for a call
// with these options, now and whenever they change, until ctx ends or the node
// closes; then the channel is closed. It is for patterns that talk to all instances
// rather than to one: open a stream to each with [OnInstance].
//
// Only the first level of the topology that has an instance counts; all targets of
// a split count. Instances that drain are left out. Instances that cannot be reached
// at the moment are included, unless only they can tell whether they have the
// required tags.
// The channel holds the newest list only; a list is sorted by ID and must not be
// modified. The first comes when the registry has answered.
//
// Errors: those of [Host.Call] before it sends anything.
func (h Host) Follow(ctx context.Context, r Route, opts ...CallOption) (<-chan []discovery.Instance, error) {
	n := h.node
	if err := r.Validate(); err != nil {
		return nil, failed("follow "+r.String(), err)
	}
	list, err := n.router.Follow(ctx, askOf(r, opts))
	if err != nil {
		return nil, failed("follow "+r.String(), routed(err))
	}
	return list, nil
}

// FollowTag sends the names of the services, in the node's namespace, that have an
// instance with a tag, now and whenever they change, until ctx ends or the node
// closes; then the channel is closed. It is for patterns that talk to every service
// that offers something: follow each service with [Host.Follow], and let a node be
// found with [Host.AddTag].
//
// The channel holds the newest list only; a list is sorted and must not be
// modified. The first comes promptly, even if it is empty. The list is a hint from
// the registry: it may name a service that no longer has such an instance, and while
// the registry cannot be read the last list stays in use. It has at most 4096 names
// and may include the node's own.
//
// Errors: InvalidArgument if the tag breaks a rule of discovery.Instance.Tags;
// Unimplemented if the registry is not a discovery.Finder; ResourceExhausted and
// Unavailable from the registry; Unavailable if the node is closed.
func (h Host) FollowTag(ctx context.Context, tag string) (<-chan []string, error) {
	n := h.node
	ch, err := n.followTag(ctx, tag)
	if err != nil {
		return nil, failed("follow tag", err)
	}
	return ch, nil
}

func (n *Node) followTag(ctx context.Context, tag string) (<-chan []string, error) {
	query := discovery.TagQuery{Tag: tag, Namespace: n.cfg.Namespace}
	if err := query.Validate(); err != nil {
		return nil, Errorf(InvalidArgument, "%w", err)
	}
	finder, ok := n.registry.(discovery.Finder)
	if !ok {
		return nil, Errorf(Unimplemented, "%s cannot tell which services have the tag %q: it is not a discovery.Finder; use one that is, "+
			"as discovery/consul, discovery/local and discovery/static are, or name the services", router.Describe(n.registry), tag)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	undo := context.AfterFunc(n.group.Context(), func() { cancel(errNodeClosed) })
	end := func() {
		undo()
		cancel(nil)
	}
	found, err := finder.Find(ctx, query)
	if err != nil {
		defer end()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, discovery.ErrLimit):
			return nil, Errorf(ResourceExhausted, "looking for the tag %q in %s: %w", tag, router.Describe(n.registry), err)
		default:
			return nil, Errorf(Unavailable, "looking for the tag %q in %s: %w", tag, router.Describe(n.registry), err)
		}
	}
	ch := make(chan []string, 1)
	if !n.group.Go(func(context.Context) {
		defer close(ch)
		defer end()
		relay(ctx, found, ch)
	}) {
		end()
		return nil, errNodeClosed
	}
	return ch, nil
}

// relay forwards lists until ctx ends. A newer list replaces one that is unread.
func relay(ctx context.Context, from <-chan []string, to chan []string) {
	for {
		select {
		case list, ok := <-from:
			if !ok {
				// The registry is closed; the last list stays in use.
				<-ctx.Done()
				return
			}
			// Drop an older list that is unread.
			select {
			case <-to:
			default:
			}
			to <- list
		case <-ctx.Done():
			return
		}
	}
}

// Unserved returns an error that says why nobody serves a route for calls with these
// options: no instance of its service is known; those that are known lack the route, with
// the nearest names that exist; or none of them could be connected to yet. It returns nil if
// the node is connected to an instance that serves the route. It is for patterns whose users
// wait, to tell them or to log it. It dials nothing. It may block 100 ms for the registry,
// or 200 ms for the routes of instances that were connected to just now.
//
// The error begins with "nobody serves stage receipts of service mailer". Its code is
// Unavailable, or Unimplemented if the route's name is wrong, or that of an error that makes
// a call fail before it is sent, as with [Host.Call].
func (h Host) Unserved(r Route, opts ...CallOption) error {
	n := h.node
	if err := n.unserved(r, opts); err != nil {
		found := failed("", err)
		return &Error{
			Code:    found.Code,
			Message: "nobody serves " + r.Kind.String() + " " + r.Name + " of service " + r.Service + ": " + found.Message,
			Cause:   err,
		}
	}
	return nil
}

func (n *Node) unserved(r Route, opts []CallOption) error {
	if err := r.Validate(); err != nil {
		return err
	}
	reach, err := n.router.Reach(askOf(r, opts))
	if err != nil {
		return routed(err)
	}
	// This is longer than one wait, so that the session remembers a wait in full.
	until := time.Now().Add(2 * router.NamesWait)
	for _, session := range reach.Sessions {
		session.AwaitRoutes(nil, router.NamesWait, until)
		if _, ok := session.Route(uint64(r.Kind), r.Name); ok {
			return nil
		}
	}
	where := router.Describe(n.registry)
	switch {
	case len(reach.Sessions) > 0:
		return Errorf(Unimplemented, "none of the %d connected instances in %s has it%s", len(reach.Sessions), where, proposeRoute(nil, r, reach.Sessions[0], until))
	case reach.Trouble != nil:
		return Errorf(Code(reach.Trouble.Code), "none of the %d instances in %s is connected: %w", reach.Instances, where, fromRouter(reach.Trouble))
	}
	return Errorf(Unavailable, "none of the %d instances in %s is connected", reach.Instances, where)
}

// AddTag adds a tag to those that the node announces beside Config.Tags and
// Config.Monitors, for patterns: others find the node by it ([Host.FollowTag]).
// It may be called before and while the node runs. It does not block: peers and the
// registry are told soon, with changes within 100 ms combined. A failed update of the
// registry is retried every second. A node that never runs announces nothing.
//
// Tags are counted: a tag that was added twice has to be removed twice. A tag that
// Config.Tags or a probe announces, too, stays as long as any of them does.
//
// Errors: InvalidArgument names the tag and the broken rule of
// discovery.Instance.Tags, or says that a place such as "zone=eu-1a" belongs in
// Config.Tags; ResourceExhausted beyond 64 tags, counting what
// Config.Monitors may announce.
func (h Host) AddTag(tag string) error {
	n := h.node
	if err := (discovery.TagQuery{Tag: tag}).Validate(); err != nil {
		return failed("add tag", Errorf(InvalidArgument, "%w", err))
	}
	if place.Is(tag) {
		return failed("add tag", Errorf(InvalidArgument, "the tag %q says where the node is, which must be known from the start; put it in Config.Tags", tag))
	}
	if err := n.presence.Add(tag); err != nil {
		return failed("add tag", Errorf(ResourceExhausted, "%w", err))
	}
	return nil
}

// RemoveTag takes back one [Host.AddTag] of this tag. Without one it does nothing.
func (h Host) RemoveTag(tag string) { h.node.presence.Remove(tag) }

// announceTags tells the connected peers about new tags.
func (n *Node) announceTags(tags []string) {
	if e := n.endpoint.Load(); e != nil {
		e.AnnounceTags(tags)
	}
}
