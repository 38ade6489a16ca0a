package serve

import (
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// Stats are the statistics of a hub.
type Stats struct {
	Log journal.LogStats
	// Stuck counts the subscriptions that were disconnected because they took nothing.
	Stuck uint64
	// DeadLetters counts the messages that were given up and published as dead letters, and
	// DeadLettersLost the others.
	DeadLetters     uint64
	DeadLettersLost uint64
	// Durable counts the durable names that the hub keeps a place for.
	Durable int
}

// Reader is a subscription that is connected to a hub. Patterns must not be modified.
type Reader struct {
	Peer     link.Peer
	Patterns []string
	Class    journal.Class
	Group    string
	Cursor   journal.Stats
	// Unpublished means that the subscriber was told that nobody publishes what it asks for.
	Unpublished bool
}

// Stats returns the statistics of the hub, and the subscriptions that are connected to it.
func (h *Hub) Stats(now time.Time) (Stats, []Reader) {
	l := h.log.Stats()
	out := Stats{
		Log: l, Stuck: h.stuck.Load(),
		DeadLetters: h.dead.kept.Load(), DeadLettersLost: h.dead.lost.Load() + l.DeadLetters, Durable: int(h.durable.Used()),
	}
	h.mu.Lock()
	list := make([]*session, 0, len(h.sessions))
	for s := range h.sessions {
		list = append(list, s)
	}
	h.mu.Unlock()
	readers := make([]Reader, 0, len(list))
	for _, s := range list {
		readers = append(readers, Reader{
			Peer: s.peer, Patterns: s.patterns, Class: s.class, Group: s.group,
			Cursor: s.cursor.Stats(now), Unpublished: s.unpublished.Load(),
		})
	}
	return out, readers
}
