package transport

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link/internal/wire"
)

// maxPeerRoutes bounds what one peer may announce. Routes beyond it are called
// by name.
const maxPeerRoutes = 16 << 10

type routeName struct {
	kind uint64
	name string
}

// routeTable holds the numbers that a peer gave its routes. Readers take no
// lock.
type routeTable struct {
	mu    sync.Mutex // one writer at a time
	table atomic.Pointer[map[routeName]uint64]
}

func (t *routeTable) lookup(kind uint64, name string) (uint64, bool) {
	m := t.table.Load()
	if m == nil {
		return 0, false
	}
	id, ok := (*m)[routeName{kind, name}]
	return id, ok
}

func (t *routeTable) add(r *wire.Routes) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := make(map[routeName]uint64)
	if m := t.table.Load(); m != nil {
		next = maps.Clone(*m)
	}
	for i, info := range r.Routes {
		key := routeName{info.Kind, info.Name}
		if _, taken := next[key]; !taken && len(next) < maxPeerRoutes {
			next[key] = r.First + uint64(i)
		}
	}
	t.table.Store(&next)
}
