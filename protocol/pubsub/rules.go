package pubsub

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share"
)

// rules are what a node's publishers and subscriptions have in common.
type rules struct {
	allow atomic.Pointer[func(Access) error]
	hub   atomic.Pointer[hub] // the node's, once it has one
	block atomic.Int64        // nanoseconds that publishers may be made to wait

	unheard *share.Pool // what is kept of streams that have ended

	mu            sync.Mutex // guards the field below
	subscriptions map[*inbox]struct{}
}

type rulesKey struct{}

func rulesOf(node *link.Node) *rules {
	made := node.Extension(rulesKey{}, func() any {
		return &rules{subscriptions: make(map[*inbox]struct{}), unheard: share.NewPool(share.Config{Limit: maxUnheard, Floor: leastUnheard})}
	})
	r, _ := made.(*rules) // nothing else is kept there
	return r
}

func (r *rules) enter(b *inbox) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscriptions[b] = struct{}{}
}

func (r *rules) exit(b *inbox) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.subscriptions, b)
}

func (r *rules) list() []*inbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.subscriptions))
}
