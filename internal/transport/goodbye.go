package transport

import (
	"sync"
	"sync/atomic"
)

// goodbye is what the peer of a session has said of its drain.
type goodbye struct {
	// said is closed, by once, when the peer drains.
	said chan struct{}
	once sync.Once
	// No handler of the peer of a dialed session sees streams above lastServed.
	lastServed atomic.Uint64
	// why is why the peer drains.
	why atomic.Pointer[string]
}

// Draining returns a channel that is closed when the other side drains.
func (s *Session) Draining() <-chan struct{} { return s.goodbye.said }

func (s *Session) isDraining() bool {
	select {
	case <-s.goodbye.said:
		return true
	default:
		return false
	}
}

// drained notes that the peer takes no new calls.
func (s *Session) drained() {
	s.goodbye.once.Do(func() {
		close(s.goodbye.said)
		// A session without calls is closed by this release.
		s.usage.active.Add(1)
		s.release()
	})
}

// leaving returns the error of a call on a session whose peer drains.
func (s *Session) leaving() *Error {
	e := &Error{Reason: ReasonDraining, Peer: s.remoteAddr, NotProcessed: true}
	if why := s.goodbye.why.Load(); why != nil {
		e.Detail = *why
	}
	return e
}

// unserved reports whether the peer has said that none of its handlers sees a stream, because it drains
// and the stream came too late.
func (s *Session) unserved(id uint64) bool { return id > s.goodbye.lastServed.Load() }
