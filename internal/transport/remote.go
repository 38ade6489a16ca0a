package transport

import (
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/linkmesh/link/internal/wire"
)

// remote is who the peer of a session is, and what it has announced.
type remote struct {
	// peer is what Config.Identify returned.
	peer any
	// setup is set before ready is closed.
	setup wire.Setup
	ready chan struct{}
	// routes holds the announced routes. routed is closed when there are some.
	routes     routeTable
	routed     chan struct{}
	routedOnce sync.Once
	// waited is how long a caller has waited for routed in vain, in ns.
	waited atomic.Int64
	tags   atomic.Pointer[[]string]
	// The rates bound its TAGS and CONTROL frames.
	tagRate     *rate.Limiter
	controlRate *rate.Limiter
}

// Remote returns what the other side announced.
func (s *Session) Remote() *wire.Setup { return &s.remote.setup }

// Tags returns the tags that the other side announced last. The caller must not modify them.
func (s *Session) Tags() []string { return *s.remote.tags.Load() }

// AwaitRoutes waits until the peer has announced routes, stop is closed, until has come, unless it is zero, or most has
// passed. Once a wait has lasted for most in vain, later calls with the same or a shorter most do not wait.
func (s *Session) AwaitRoutes(stop <-chan struct{}, most time.Duration, until time.Time) {
	wait := most
	if !until.IsZero() {
		wait = min(most, time.Until(until))
	}
	if time.Duration(s.remote.waited.Load()) >= most {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-s.remote.routed:
	case <-s.Done():
	case <-stop:
	case <-t.C:
		if wait == most {
			// A shorter wait that ends at the same time makes another one necessary at worst.
			s.remote.waited.Store(int64(most))
		}
	}
}

// Route returns what the peer announced of a route, and whether it did.
func (s *Session) Route(kind uint64, name string) (r PeerRoute, ok bool) {
	return s.remote.routes.lookup(kind, name)
}

// RouteNames yields the names of the routes of one kind that the peer announced, in no particular order.
func (s *Session) RouteNames(kind uint64) iter.Seq[string] { return s.remote.routes.names(kind) }
