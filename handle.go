package link

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// CallHandler serves a unary route. New returns a pointer into which a request is
// decoded; Serve gets it and returns the response. Serve is called on many
// goroutines at once.
type CallHandler struct {
	New   func() any
	Serve func(ctx context.Context, request any) (response any, err error)
}

// StreamHandler serves a stream. The stream ends when it returns: with the
// error's code, or cleanly. Its context ends when the caller is gone or the
// node cancels its handlers.
type StreamHandler func(ctx context.Context, s *Stream) error

// handler is one route that the node serves.
type handler struct {
	route  Route
	id     uint64
	config handleConfig
	call   CallHandler
	stream StreamHandler
	// sizes is the hint for responses.
	sizes transport.SizeHint
	// wrapped is the server middleware around call or stream; nil if there is none.
	wrapped Next

	// missing, if not nil, is why no handler runs. Only middleware sees such a call.
	missing error
	// unserved means that the node has no such route.
	unserved bool
}

// routeTable holds the routes the node serves. Readers take no lock.
type routeTable struct {
	mu    sync.Mutex // one writer at a time
	table atomic.Pointer[routes]
}

type routes struct {
	byID   []*handler
	byName map[routeKey]*handler
}

type routeKey struct {
	kind Kind
	name string
}

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
		return Errorf(InvalidArgument, "Authorize of %s was given nil, which would let everybody use it; leave the option out if that is meant", h.route)
	}
	if h.stream == nil && (h.call.Serve == nil || h.call.New == nil) {
		return Errorf(InvalidArgument, "the handler of %s is nil", h.route)
	}
	if n.cfg.Service == "" {
		return Errorf(InvalidArgument, "route %s belongs to service %q, and this node serves none: set Config.Service", h.route, h.route.Service)
	}
	if h.route.Service != n.cfg.Service {
		return Errorf(InvalidArgument, "route %s belongs to service %q, this node serves %q", h.route, h.route.Service, n.cfg.Service)
	}
	if m := h.config.maxMessage; h.config.sized && m < 1 || m > maxMessageCap {
		return Errorf(InvalidArgument, "MaxMessage of %s is %d, want 1 to %d", h.route, m, maxMessageCap)
	}
	return nil
}

func (h *handler) info() wire.RouteInfo {
	return wire.RouteInfo{Kind: uint64(h.route.Kind), Name: h.route.Name, Level: uint64(h.route.Level), MaxMessage: uint64(h.config.maxMessage)}
}

func (t *routeTable) infos() []wire.RouteInfo {
	r := t.table.Load()
	if r == nil {
		return nil
	}
	out := make([]wire.RouteInfo, 0, len(r.byID))
	for _, h := range r.byID {
		out = append(out, h.info())
	}
	return out
}

// maxMessage returns the size of the largest message that any handler takes, at least limit.
func (t *routeTable) maxMessage(limit int) int {
	if r := t.table.Load(); r != nil {
		for _, h := range r.byID {
			limit = max(limit, h.config.maxMessage)
		}
	}
	return limit
}
