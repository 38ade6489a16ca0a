package transport

import (
	"net/netip"
	"slices"
)

// site is an identity at the address of a socket.
type site struct {
	identity string
	addr     netip.AddrPort
}

// settle notes which instance a session reaches, now that SETUP has named it. A socket belongs
// to one process: sessions with another instance at the same address belong to a process that
// is gone, unless the address is that of a load balancer. The peers of those sessions are
// therefore asked for a sign of life, and the sessions end if there is no answer.
func (e *Endpoint) settle(s *Session) {
	name := s.remote.setup.Instance
	var displaced []*Session
	e.known.mu.Lock()
	for _, other := range e.known.sites[s.site] {
		if a, b := other.remote.setup.Instance, s.remote.setup.Instance; a != "" && b != "" && a != b {
			displaced = append(displaced, other)
		}
	}
	if _, known := e.known.sessions[s]; known {
		e.known.sites[s.site] = append(e.known.sites[s.site], s)
	}
	e.known.mu.Unlock()
	for _, other := range displaced {
		other.vitals.displacedBy.Store(&name)
		other.doubt()
		other.suspect()
	}
}

// leaveLocked removes a session that has ended from its site.
func (e *Endpoint) leaveLocked(s *Session) {
	left := slices.DeleteFunc(e.known.sites[s.site], func(other *Session) bool { return other == s })
	if len(left) == 0 {
		delete(e.known.sites, s.site)
		return
	}
	e.known.sites[s.site] = left
}
