package serve

import (
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// mayRead returns why a peer may not subscribe to what it asks for, nil if it may. It shortens the
// time for which publishers wait to what the node allows.
func (h *Hub) mayRead(peer link.Peer, ask *frame.Subscribe) error {
	if err := h.mayBlock(peer, ask); err != nil {
		return err
	}
	for _, pattern := range ask.Patterns {
		if err := h.rules.MayRead(peer, pattern, ask.Group, time.Duration(max(ask.Block, 0))*time.Microsecond); err != nil {
			_, topic := subject.RealmOf(pattern)
			return link.Errorf(link.PermissionDenied, "%s may not subscribe to %q: %w", peer.Service(), topic, err)
		}
	}
	return nil
}

// mayBlock limits the time that a peer asks publishers to wait to what the node allows. It
// returns an error if the node allows none.
func (h *Hub) mayBlock(peer link.Peer, ask *frame.Subscribe) error {
	if ask.Block <= 0 {
		return nil
	}
	most := h.rules.MostBlock()
	if most == 0 {
		return link.Errorf(link.PermissionDenied, "%s may not make publishers wait: this node does not allow pubsub.Backpressure; subscribe without it, or have the node call pubsub.AllowBackpressure", peer.Service())
	}
	ask.Block = min(ask.Block, most.Microseconds(), MaxBlock.Microseconds())
	return nil
}
