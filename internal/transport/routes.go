package transport

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link/internal/wire"
)

// What is kept of the routes that one peer announces. Routes beyond it are called
// by name.
const (
	maxPeerRoutes = 16 << 10 // entries
	maxRouteBytes = 4 << 20  // bytes of ROUTES frames, the names in them
	// maxRouteFrames bounds frames that add nothing. A server that adds one route at a
	// time stays within it.
	maxRouteFrames = maxPeerRoutes
)

type routeName struct {
	kind uint64
	name string
}

// PeerRoute is what a peer says of one of its routes.
type PeerRoute struct {
	ID         uint64
	Level      uint64 // how often a method may run; one that this node does not know is 0
	MaxMessage uint64 // bytes of the largest message, both ways; 0 is that of SETUP
}

// routeTable holds what a peer said of its routes. Readers take no lock.
//
// It is a list of maps, each at least twice as large as the next. A frame adds a map at the
// end, which is merged with those before it that are not. So an entry moves to a larger map
// at most as often as the table can double, whatever the frames are, and a lookup looks at few maps:
// mostly one, for a server announces its routes together.
type routeTable struct {
	mu     sync.Mutex // one writer at a time; guards the counters
	parts  atomic.Pointer[[]map[routeName]PeerRoute]
	held   int // entries
	frames int
	bytes  int
	moved  int // entries written into maps, for tests: the work that was done
}

func (t *routeTable) lookup(kind uint64, name string) (PeerRoute, bool) {
	parts := t.parts.Load()
	if parts == nil {
		return PeerRoute{}, false
	}
	key := routeName{kind, name}
	for _, part := range *parts {
		if r, ok := part[key]; ok {
			return r, true
		}
	}
	return PeerRoute{}, false
}

// names gives the names of one kind, in no order.
func (t *routeTable) names(kind uint64) iter.Seq[string] {
	return func(yield func(string) bool) {
		parts := t.parts.Load()
		if parts == nil {
			return
		}
		for _, part := range *parts {
			for key := range part {
				if key.kind == kind && !yield(key.name) {
					return
				}
			}
		}
	}
}

// room counts a frame with a body of n bytes, and reports whether it is to be taken in.
func (t *routeTable) room(n int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held >= maxPeerRoutes || t.frames >= maxRouteFrames || t.bytes+n > maxRouteBytes {
		return false
	}
	t.frames++
	t.bytes += n
	return true
}

// add takes in a frame for which there was room. Of a route that is announced twice, the
// first number stands.
func (t *routeTable) add(r *wire.Routes) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fresh := make(map[routeName]PeerRoute, min(len(r.Routes), maxPeerRoutes-t.held))
	for i, info := range r.Routes {
		if t.held == maxPeerRoutes {
			break
		}
		key := routeName{info.Kind, info.Name}
		if _, taken := fresh[key]; taken {
			continue
		}
		if _, taken := t.lookup(info.Kind, info.Name); taken {
			continue
		}
		fresh[key] = PeerRoute{r.First + uint64(i), info.Level, info.MaxMessage}
		t.held++
		t.moved++
	}
	if len(fresh) == 0 {
		return
	}
	var parts []map[routeName]PeerRoute
	if old := t.parts.Load(); old != nil {
		parts = slices.Clone(*old)
	}
	parts = append(parts, fresh)
	for n := len(parts); n > 1 && len(parts[n-2]) < 2*len(parts[n-1]); n = len(parts) {
		parts = append(parts[:n-2], t.merge(parts[n-2], parts[n-1]))
	}
	t.parts.Store(&parts)
}

// merge returns a new map: readers may be in the old ones.
func (t *routeTable) merge(a, b map[routeName]PeerRoute) map[routeName]PeerRoute {
	out := make(map[routeName]PeerRoute, len(a)+len(b))
	maps.Copy(out, a)
	maps.Copy(out, b)
	t.moved += len(out)
	return out
}
