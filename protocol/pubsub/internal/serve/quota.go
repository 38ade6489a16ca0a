package serve

import (
	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/internal/flow"
)

const (
	// MaxSubscriptions bounds the subscriptions of one node at one publisher. It is half
	// of the streams of a connection, which leaves the other half for other uses.
	MaxSubscriptions = 512
	// maxPerService bounds the subscriptions of all nodes of a service at one
	// publisher. It is a quarter of what the publisher's log holds, so that no service
	// can keep out the others.
	maxPerService = 16384
	// MaxDurable bounds the durable names at one publisher. An identity may have as many
	// as it leaves free, and up to sessionFloor as long as any are free.
	MaxDurable = 1024
	// sessionFloor is how many sessions each identity may have whatever its share, as long as
	// any are free.
	sessionFloor = 16
)

// takeSession counts a session against the share of the peer's identity. Ended gives it back.
func (h *Hub) takeSession(peer link.Peer, durable bool) (ended func(), err error) {
	pool, name := h.kept, "sessions of AtLeastOnce"
	if durable {
		pool, name = h.durable, "durable names (pubsub.Durable)"
	}
	holder := pool.Holder(flow.KeyOf(peer))
	if err := holder.Take(1); err != nil {
		holder.Release()
		return nil, link.Errorf(link.ResourceExhausted, "subscribe: no room for one more of the %s of %s here, it has %d: %w", name, peer.Service(), holder.Held(), err)
	}
	return func() {
		holder.Give(1)
		holder.Release()
	}, nil
}

// quota identifies a node whose subscriptions are counted, by the key of its shares and by
// its instance, which the node itself chooses.
type quota struct {
	key      share.Key
	instance string
}

// admit counts a subscription of a peer, both for its node and against the share of its
// identity. Release gives it back.
func (h *Hub) admit(peer link.Peer) (release func(), err error) {
	node := quota{flow.KeyOf(peer), peer.Instance}
	if n := h.count(node, 1); n > MaxSubscriptions {
		h.count(node, -1)
		return nil, link.Errorf(link.ResourceExhausted, "%s has %d subscriptions here already, and one node may have %d", peer, n-1, MaxSubscriptions)
	}
	holder := h.subscriptions.Holder(node.key)
	if err := holder.Take(1); err != nil {
		holder.Release()
		h.count(node, -1)
		return nil, link.Errorf(link.ResourceExhausted, "%s has %d subscriptions here already, of at most %d, and has no room for one more: %w", peer.Identity, holder.Held(), maxPerService, err)
	}
	return func() {
		holder.Give(1)
		holder.Release()
		h.count(node, -1)
	}, nil
}

// count adds to the subscriptions of a node, and returns how many it has.
func (h *Hub) count(node quota, n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.peers[node] += n
	have := h.peers[node]
	if have == 0 {
		delete(h.peers, node)
	}
	return have
}
