package topology

import (
	"fmt"
	"slices"
	"strings"

	"github.com/linkmesh/link/internal/policy/errtext"
	"github.com/linkmesh/link/internal/policy/limits"
)

// whole is the sum of the shares of a split.
const whole = 100

func (v serviceCheck) routes(path string, routes []Route) {
	v.limit(path, "routes", len(routes), limits.MaxRoutes)
	for i, r := range routes {
		at := fmt.Sprintf("%s[%d]", path, i)
		v.match(errtext.Path(at, "match"), r.Match)
		v.split(errtext.Path(at, "to"), r.To)
		if r.Sticky != "" {
			v.metaKey(errtext.Path(at, "sticky"), r.Sticky)
		}
		v.duration(errtext.Path(at, "timeout"), r.Timeout)
		v.retry(errtext.Path(at, "retry"), r.Retry)
		v.failover(errtext.Path(at, "failover"), r.Failover)
		if i+1 < len(routes) && r.Match.all() {
			v.invalid(fmt.Sprintf("%s[%d]", path, i+1), "is never reached: %s has no match, so it takes every call; put it last", at)
			return
		}
	}
}

// whole says how to write a pattern whose first part is not the service. Such a pattern is refused because a
// misspelled service would silently make a rule that never matches.
func (v serviceCheck) whole(other, name string) string {
	whole := errtext.Quote(v.name + "/" + other + "/" + name)
	if distance(other, v.name) <= max(2, len(v.name)/3) && other != "" {
		return "did you mean " + errtext.Quote(v.name+"/"+name) + "? Write " + whole
	}
	return "write " + whole
}

// has reports whether the document has an entry for a service.
func (v serviceCheck) has(service string) bool {
	_, ok := v.all[service]
	return ok
}

// all reports whether every call matches.
func (m Match) all() bool {
	return m.Method == "" && m.Topic == "" && m.Stage == "" && len(m.Caller) == 0 && len(m.Meta) == 0
}

func (v serviceCheck) match(path string, m Match) {
	set := ""
	for _, f := range []struct{ key, pattern string }{{"method", m.Method}, {"topic", m.Topic}, {"stage", m.Stage}} {
		at := errtext.Path(path, f.key)
		if f.pattern == "" {
			continue
		}
		if set != "" {
			v.invalid(at, "a call has one route, so %s and %s never match both; write two rules", set, f.key)
		}
		set = f.key
		if reason := badText(f.pattern, limits.MaxName); reason != "" {
			v.invalid(at, "%s", reason)
		} else if other, name, ok := strings.Cut(f.pattern, "/"); ok && other != v.name && v.has(other) {
			v.invalid(at, "is %s, a %s of service %s, and these are the rules of %s; write %s if that is its name here", errtext.Quote(f.pattern), f.key, other, v.name, errtext.Quote(v.name+"/"+other+"/"+name))
		} else if other, name, ok := strings.Cut(f.pattern, "/"); ok && other != v.name {
			v.invalid(at, "is %s, and these are the rules of %s; %s if it is a name of %s", errtext.Quote(f.pattern), v.name, v.whole(other, name), v.name)
		} else if star := strings.IndexByte(f.pattern, '*'); star >= 0 && star != len(f.pattern)-1 {
			v.invalid(at, "is %s; one * may stand at the end, for all names that begin so", errtext.Quote(f.pattern))
		}
	}
	callers := errtext.Path(path, "caller")
	v.limit(callers, "callers", len(m.Caller), limits.MaxTargets)
	for i, caller := range m.Caller {
		at := fmt.Sprintf("%s[%d]", callers, i)
		v.serviceName(at, caller)
		if slices.Contains(m.Caller[:i], caller) {
			v.invalid(at, "%s is there twice", errtext.Quote(caller))
		}
	}
	v.limit(errtext.Path(path, "meta"), "pairs", len(m.Meta), limits.MaxPairs)
	v.pairs(errtext.Path(path, "meta"), m.Meta)
}
