package router

import "github.com/linkmesh/link/internal/clock"

// MayMove implements [transport.Mover]. A read-only call leaves an instance that is in
// doubt if another instance has a connection that is not in doubt, and if the retry
// budget has room.
func (s *Search) MayMove() bool {
	// The server must have announced that the method is read-only.
	if r, known := s.by.Route(s.ask.Number, s.ask.Name); !known || levelOf(r) != ReadOnly {
		return false
	}
	return s.attempts < s.most() && s.retries("unavailable") && s.alternative() && s.takeRetry()
}

// maxLooks is how many instances alternative looks at.
const maxLooks = 8

// alternative reports whether another instance for the call, at its level or at a later one,
// has a connection that is not in doubt. It begins to connect to one that has no connection.
func (s *Search) alternative() bool {
	if s.ask.Instance != "" {
		return false
	}
	tried, now, class := s.tried, clock.Now(), s.class
	tried.Add(s.on)
	looks, dialed := 0, false
	for _, l := range s.levels[s.level:] {
		for ; l.other == "" && looks < maxLooks; looks++ {
			e, ok := l.group.Pick(now, &tried, s.key)
			if !ok {
				break
			}
			in := e.Value()
			session := in.peer.Live(class)
			switch {
			case now < in.state.leaving.Load():
			case session == nil && !dialed:
				// Dial, so that there may be a connection when MayMove is called again.
				_, err := in.peer.Connect(class)
				dialed = err == nil
			case session != nil && !session.Doubtful():
				return true
			}
			tried.Add(e)
		}
	}
	return false
}
