package receive

import (
	"maps"
	"slices"
	"sync"

	"github.com/linkmesh/link/internal/share"
)

// Shared is what all subscriptions of a node share.
type Shared struct {
	// unheard counts the bytes that are kept of streams that have ended.
	unheard *share.Pool

	mu      sync.Mutex // guards the field below
	inboxes map[*Inbox]struct{}
}

// NewShared returns what the subscriptions of a node are to share.
func NewShared() *Shared {
	return &Shared{
		unheard: share.NewPool(share.Config{Limit: maxUnheard, Floor: leastUnheard}),
		inboxes: make(map[*Inbox]struct{}),
	}
}

// All returns the subscriptions of the node, in no order.
func (s *Shared) All() []*Inbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.inboxes))
}

func (s *Shared) enter(b *Inbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inboxes[b] = struct{}{}
}

func (s *Shared) exit(b *Inbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inboxes, b)
}
