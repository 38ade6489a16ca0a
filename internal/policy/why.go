package policy

import (
	"strconv"

	"github.com/linkmesh/link/internal/policy/errtext"
)

// why says why a call does not match, naming the first condition that fails.
func (m *matcher) why(r *Request) string {
	switch {
	case !m.ofRoute(r):
		return "is for " + m.kind + " " + m.shown
	case !m.ofMeta(r):
		for _, p := range m.meta {
			if !p.in(r) {
				return "needs meta " + p.key + "=" + p.value
			}
		}
	}
	return "is for calls from " + errtext.List(m.callers, "or")
}

func itoa(i int) string { return strconv.Itoa(i) }
