package link

import (
	"context"
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
