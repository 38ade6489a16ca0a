package pipeline

import (
	"sync"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/lane"
)

// sightings tell how a node shows to its own worker by the network. Its queues do not see that:
// behind a NAT they may come from another address than the one that they dial. The worker does, but
// where names are free others may claim to be the node; so what it sees counts for a queue that waits for
// its WELCOME, and only if all who say HELLO for that queue meanwhile come from one place.
type sightings struct {
	mu      sync.Mutex // guards the fields below
	self    *link.Peer // nil before the first
	waiting map[string]*sighting
}

// sighting is who said HELLO for a queue.
type sighting struct {
	peer        *link.Peer
	conflicting bool
}

// begin notes that a queue is about to say HELLO to the node's own worker.
func (s *sightings) begin(queue string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = make(map[string]*sighting)
	}
	s.waiting[queue] = &sighting{}
}

// see notes who has said HELLO for a queue, before that is answered.
func (s *sightings) see(queue string, peer link.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch at := s.waiting[queue]; {
	case at == nil:
	case at.peer == nil:
		at.peer = &peer
	case lane.KeyOf(peer) != lane.KeyOf(*at.peer):
		at.conflicting = true
	}
}

// end notes that a queue waits no more. If the worker welcomed it, that is known to the queue as peer.
func (s *sightings) end(queue string, peer *link.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.waiting[queue]
	delete(s.waiting, queue)
	switch {
	case at == nil || peer == nil:
	case at.peer != nil && !at.conflicting:
		s.self = at.peer
	case s.self == nil:
		s.self = peer
	}
}

// seen is how the node showed last, nil if no stream has led to its worker yet.
func (s *sightings) seen() *link.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.self
}
