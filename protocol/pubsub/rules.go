package pubsub

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share"
)

// rules are shared by the publishers and subscriptions of a node.
type rules struct {
	allow atomic.Pointer[func(Access) error]
	// hub is the node's hub; nil until the node publishes.
	hub atomic.Pointer[hub]
	// block is how long publishers may be made to wait, in nanoseconds.
	block atomic.Int64

	// unheard counts the bytes that are kept of streams that have ended.
	unheard *share.Pool

	mu            sync.Mutex // guards the field below
	subscriptions map[*inbox]struct{}
}

type rulesKey struct{}

func rulesOf(node *link.Node) *rules {
	made := link.HostOf(node).Extension(rulesKey{}, func() any {
		return &rules{subscriptions: make(map[*inbox]struct{}), unheard: share.NewPool(share.Config{Limit: maxUnheard, Floor: leastUnheard})}
	})
	r, _ := made.(*rules)
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
