package topology

import (
	"maps"
	"slices"
	"strings"
)

// Request is what a policy looks at in a call.
type Request struct {
	Kind   string // "method", "topic" or "stage"
	Name   string // the name of the route within its service: "get"
	Caller string // service name of the caller
	// ReadOnly says that the call changes nothing, so that a copy of it does no harm.
	ReadOnly bool
	Meta     Metadata // nil: none

	// Key is the sticky key of the call. If it is not "" it decides splits and the instance, in
	// place of what the policy names.
	Key string

	// Random decides what no key decides: splits, mirrors, faults. It should be drawn anew for
	// each call, uniformly; the choices made with it are independent of each other.
	Random uint64
}

// Metadata is the text that travels beside a call.
type Metadata interface {
	// Get returns the value of key and whether there is one.
	Get(key string) (string, bool)
}

// MetadataMap is a Metadata in memory, for tests and explanations.
type MetadataMap map[string]string

// Get returns m[key].
func (m MetadataMap) Get(key string) (string, bool) {
	v, ok := m[key]
	return v, ok
}

// Route returns the plan for a call, never nil: of the first rule that matches, the target that
// key or chance choose. It does not keep r and allocates nothing, if r.Meta does not.
func (s *Plans) Route(r *Request) *Plan {
	for i := range s.rules {
		if rule := &s.rules[i]; rule.match.matches(r) {
			plan, _ := rule.choose(r)
			return plan
		}
	}
	return s.rules[len(s.rules)-1].split.targets[0].plan // not reached: the last rule matches all
}

// rule is a compiled Route.
type rule struct {
	match  matcher
	split  split
	sticky string // key of metadata
}

// choose returns the plan for a call that matches, and the key that decided or "" for chance.
func (u *rule) choose(r *Request) (*Plan, string) {
	if len(u.split.targets) == 1 {
		return u.split.targets[0].plan, ""
	}
	key := r.Key
	if key == "" && u.sticky != "" && r.Meta != nil {
		key, _ = r.Meta.Get(u.sticky)
	}
	if key == "" {
		return u.split.byChance(r.Random), ""
	}
	return u.split.byKey(hash(key)), key
}

// matcher is a compiled Match.
type matcher struct {
	kind    string // "" for every route
	name    string // or prefix
	prefix  bool
	alone   string // the name, or prefix, without the service, if it was written with that
	written bool   // it was
	shown   string // the name or prefix as explanations show it
	callers []string
	meta    []pair
}

type pair struct{ key, value string }

func newMatcher(m Match, service string) matcher {
	c := matcher{callers: slices.Clone(m.Caller)}
	switch {
	case m.Method != "":
		c.kind, c.name = "method", m.Method
	case m.Topic != "":
		c.kind, c.name = "topic", m.Topic
	case m.Stage != "":
		c.kind, c.name = "stage", m.Stage
	}
	c.shown = service + "/" + strings.TrimPrefix(c.name, service+"/")
	c.name, c.prefix = strings.CutSuffix(c.name, "*")
	c.alone, c.written = strings.CutPrefix(c.name, service+"/") // else alone is the name
	for _, key := range slices.Sorted(maps.Keys(m.Meta)) {
		c.meta = append(c.meta, pair{key, m.Meta[key]})
	}
	return c
}

func (m *matcher) matches(r *Request) bool {
	return m.ofRoute(r) && (len(m.callers) == 0 || slices.Contains(m.callers, r.Caller)) && m.ofMeta(r)
}

func (m *matcher) ofRoute(r *Request) bool {
	switch {
	case m.kind == "":
		return true
	case m.kind != r.Kind:
		return false
	case m.prefix:
		return strings.HasPrefix(r.Name, m.name) || m.written && strings.HasPrefix(r.Name, m.alone)
	}
	return r.Name == m.name || m.written && r.Name == m.alone
}

func (m *matcher) ofMeta(r *Request) bool {
	for i := range m.meta {
		if !m.meta[i].in(r) {
			return false
		}
	}
	return true
}

func (p *pair) in(r *Request) bool {
	if r.Meta == nil {
		return false
	}
	v, ok := r.Meta.Get(p.key)
	return ok && v == p.value
}
