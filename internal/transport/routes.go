package transport

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link/internal/wire"
)

// The bounds on what is kept of the routes that one peer announces. Routes beyond them
// are called by name.
const (
	maxPeerRoutes = 16 << 10 // entries
	maxRouteBytes = 4 << 20  // bytes of ROUTES frames, with the names in them
	// maxRouteFrames bounds frames that add nothing. A server that adds one route at a
	// time stays within it.
	maxRouteFrames = maxPeerRoutes
)

type routeName struct {
	kind uint64
	name string
}

// PeerRoute is what a peer announces of one of its routes.
type PeerRoute struct {
	ID uint64
	// Level says how often a method may run. A level that this node does not know is 0.
	Level uint64
	// MaxMessage is the size of the largest message in bytes, both ways. 0 means that of SETUP.
	MaxMessage uint64
}

// routeTable holds the routes that a peer announced. Readers take no lock.
//
// It is a list of maps, each at least twice as large as the next. A frame adds a map at the
// end, which is merged with the maps before it that are too small. An entry thus moves to a
// larger map at most as often as the table can double, whatever the frames are, and a lookup
// looks at few maps: mostly one, because a server announces its routes together.
type routeTable struct {
	// mu admits one writer at a time and guards the counters.
	mu    sync.Mutex
	parts atomic.Pointer[[]map[routeName]PeerRoute]
	// held counts the entries.
	held   int
	frames int
	bytes  int
	// moved counts the entries written into maps. Tests use it as the work that was done.
	moved int
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

// names yields the names of one kind, in no particular order.
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

// room reports whether there is room for a frame with a body of n bytes, and counts it if so.
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

// add adds the routes of a frame for which there was room. If a route is announced twice,
// the first announcement counts.
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

// merge returns a new map with the entries of both, because readers may use the old ones.
func (t *routeTable) merge(a, b map[routeName]PeerRoute) map[routeName]PeerRoute {
	out := make(map[routeName]PeerRoute, len(a)+len(b))
	maps.Copy(out, a)
	maps.Copy(out, b)
	t.moved += len(out)
	return out
}
