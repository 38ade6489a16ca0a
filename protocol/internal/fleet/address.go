package fleet

import (
	"strings"

	"github.com/linkmesh/link"
)

// Check returns an error that is [link.ErrProcessGone] if a stream that was opened to the instance of
// m has reached another instance, at the same address. The other instance has, or will have, a member
// of its own. Check is called by Config.Attend. An instance may report only a prefix of the ID that a
// registry has.
//
// Where instances are known by their addresses, as in a static list, whatever is at the address is the
// instance. Before the instance has reported its own ID, Check therefore returns the error only if the
// fleet has a member with the ID that the stream reports.
func (f *Fleet[M]) Check(m M, st interface{ Peer() link.Peer }) error {
	l, said := m.life(), st.Peer().Instance
	switch {
	case said == "":
		return nil
	case strings.HasPrefix(l.ID, said):
		l.met = true
		return nil
	case !l.met && !f.knows(said):
		return nil
	}
	return link.Errorf(link.Unavailable, "%s is not there any more, and %s is at its address: %w", l.ID, said, link.ErrProcessGone)
}

// knows reports whether there is a member whose ID begins with said.
func (f *Fleet[M]) knows(said string) bool {
	f.config.Lock.Lock()
	defer f.config.Lock.Unlock()
	for id := range f.members {
		if strings.HasPrefix(id, said) {
			return true
		}
	}
	return false
}
