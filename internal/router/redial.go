package router

import (
	"time"

	"github.com/linkmesh/link/internal/transport"
)

// redialed bounds how many instances are dialed again at once for a call that finds none.
const redialed = maxPending

// redial lets calls dial unreachable instances again before the backoff of their dials ends: no other instance is left
// to call, and when a network comes back after minutes, no call should wait for a backoff that has grown. Limits.Silence
// must pass after each dial, and at most redialed instances are dialed at a time. It reports whether there are any.
func (s *Service) redial(now time.Time, class transport.Class) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.redialAt) {
		return false
	}
	pause := s.router.cfg.Silence
	s.redialAt = now.Add(waitTick)
	found := 0
	for id, in := range s.members {
		if !in.peer.Redial(class, pause) {
			continue
		}
		if e, ok := s.set.Lookup(id); ok {
			e.Unbar()
			found++
		}
		if found == redialed {
			s.redialAt = now.Add(pause)
			break
		}
	}
	return found > 0
}
