package topology

import (
	"strconv"
	"strings"
	"time"
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
	return "is for calls from " + listed(m.callers, "or")
}

func itoa(i int) string { return strconv.Itoa(i) }

// short prints a duration without the trailing zeros of Duration.String: "1m" for 1m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
