package link

import (
	"time"

	"github.com/linkmesh/link/internal/transport"
)

// redialed is how many instances a call that finds nobody has dialed again at once.
const redialed = maxPending

// redial lets calls dial instances again at which nobody answered, sooner than the pauses after their dials say: nobody
// else is left to call, and when a network comes back after minutes, nobody is to wait for a pause that has grown. They
// have Limits.Silence after each dial, a few of them at a time. It reports whether there are any.
func (s *service) redial(now time.Time, class transport.Class) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.redialAt) {
		return false
	}
	pause := s.node.cfg.Limits.silence()
	s.redialAt = now.Add(waitTick)
	found := 0
	for id, in := range s.members { // in no order
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
