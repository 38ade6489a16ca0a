package pipeline

import (
	"sync"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/flow"
)

// sightings tells how the node looks to its own worker over the network. The node's queues cannot see
// that: behind a NAT they may come from another address than the one that they dial. The worker can, but
// where names are not proven, other peers may claim to be the node. What the worker sees therefore counts
// only while a queue waits for its WELCOME, and only if every HELLO for that queue meanwhile comes from
// one place.
type sightings struct {
	mu sync.Mutex // guards the fields below
	// self is nil before the first sighting.
	self    *link.Peer
	waiting map[string]*sighting
}

// sighting is the peer that said HELLO for a queue.
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

// see notes the peer that said HELLO for a queue, before the HELLO is answered.
func (s *sightings) see(queue string, peer link.Peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch at := s.waiting[queue]; {
	case at == nil:
	case at.peer == nil:
		at.peer = &peer
	case flow.KeyOf(peer) != flow.KeyOf(*at.peer):
		at.conflicting = true
	}
}

// end notes that a queue no longer waits. peer is the worker as the queue knows it, or nil if the
// worker did not welcome the queue.
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

// seen returns how the node looked last, or nil if no stream has reached its worker yet.
func (s *sightings) seen() *link.Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.self
}
