package transport

import "sync"

// directory holds the sessions and the peers of an endpoint.
type directory struct {
	mu       sync.Mutex // guards the fields below
	sessions map[*Session]struct{}
	// sites holds the sessions that know which peer they reach.
	sites map[site][]*Session
	peers map[peerKey]*Peer
	// accepted counts the sessions that peers dialed.
	accepted int
	// closed means that the endpoint is closed, so that nothing is added any more.
	closed bool
}

func newDirectory() directory {
	return directory{sessions: make(map[*Session]struct{}), sites: make(map[site][]*Session), peers: make(map[peerKey]*Peer)}
}

// add registers a session with the endpoint. If the endpoint is closed, it disowns the session and reports false.
func (e *Endpoint) add(s *Session) bool {
	e.known.mu.Lock()
	defer e.known.mu.Unlock()
	if e.known.closed {
		s.disown()
		return false
	}
	e.known.sessions[s] = struct{}{}
	return true
}

func (e *Endpoint) acceptedSessions() []*Session {
	e.known.mu.Lock()
	defer e.known.mu.Unlock()
	out := make([]*Session, 0, e.known.accepted)
	for s := range e.known.sessions {
		if !s.dialed {
			out = append(out, s)
		}
	}
	return out
}
