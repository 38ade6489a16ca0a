package transport

import (
	"context"
	"sync/atomic"

	"github.com/linkmesh/link/internal/wire"
)

// identity counts what all connections of one identity use together.
type identity struct {
	key    string
	conns  int          // guarded by Endpoint.mu
	active atomic.Int64 // calls and streams of it that handlers run
}

// admitSession finds room for an accepted session: the oldest idle connection
// of the identity, or of all, makes way if a limit is reached.
func (e *Endpoint) admitSession(s *Session, key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	id := e.identities[key]
	if id == nil {
		id = &identity{key: key}
	}
	full := id.conns >= e.limits.ConnsPerIdentity
	if full || e.accepted >= e.limits.ConnsPerProcess {
		var same *identity
		if full {
			same = id
		}
		victim := e.oldestIdleLocked(same)
		if victim == nil {
			return false
		}
		victim.evicted = true
		e.group.Go(func(context.Context) { victim.close(wire.CodeOverloaded, "too many connections") })
	}
	id.conns++
	e.accepted++
	e.identities[key] = id
	s.identity = id
	e.sessions[s] = struct{}{}
	return true
}

// oldestIdleLocked returns the accepted session that was unused for longest, of
// one identity or of all.
func (e *Endpoint) oldestIdleLocked(of *identity) *Session {
	var oldest *Session
	for s := range e.sessions {
		if s.dialed || s.evicted || s.active.Load() > 0 || of != nil && s.identity != of {
			continue
		}
		if oldest == nil || s.used.Load() < oldest.used.Load() {
			oldest = s
		}
	}
	return oldest
}
