package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/linkmesh/link/topology"
)

// Request is the part of a call that a policy looks at.
type Request struct {
	// Kind is "method", "topic" or "stage".
	Kind string

	// Name is the name of the route within its service: "get".
	Name string

	// Caller is the name of the calling service.
	Caller string

	// ReadOnly reports that the call changes nothing, so that it is safe to copy.
	ReadOnly bool

	// Meta may be nil.
	Meta Metadata

	// Key is the sticky key of the call. If it is not empty, it decides splits and the instance,
	// instead of the key that the policy names.
	Key string

	// Random decides mirrors, faults, and splits without a key. It should be a uniform random
	// number, new for each call; the choices made with it are independent of each other.
	Random uint64
}

// Metadata is the set of text pairs sent along with a call.
type Metadata interface {
	// Get returns the value of key and reports whether the key is present.
	Get(key string) (string, bool)
}

// MetadataMap is a Metadata in memory, for tests and explanations.
type MetadataMap map[string]string

// Get returns m[key].
func (m MetadataMap) Get(key string) (string, bool) {
	v, ok := m[key]
	return v, ok
}

// Route returns the plan for a call, never nil. The first rule that matches applies; a key or r.Random
// chooses among its targets. Route does not keep r, and allocates nothing unless r.Meta does.
func (s *Plans) Route(r *Request) *Plan {
	for i := range s.rules {
		if rule := &s.rules[i]; rule.match.matches(r) {
			plan, _ := rule.choose(r)
			return plan
		}
	}
	// This is not reached: the last rule matches every call.
	return s.rules[len(s.rules)-1].split.targets[0].plan
}

// rule is a compiled Route. Its sticky is a metadata key, without the prefix "meta:".
type rule struct {
	match  matcher
	split  split
	sticky string
}

// choose returns the plan for a call that matches, and the key that decided, or "" if none did.
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
	return u.split.byKey(hashOf(key)), key
}

// matcher is a compiled Match.
type matcher struct {
	// kind is empty if the routes of every kind match.
	kind string

	// name is the name of the route, or its prefix if prefix is set.
	name   string
	prefix bool

	// alone is name without the service, and written reports whether name was written with the
	// service. If it was not, alone equals name.
	alone   string
	written bool

	// shown is the name or prefix as explanations show it.
	shown   string
	callers []string
	meta    []pair
}

type pair struct{ key, value string }

func newMatcher(m topology.Match, service string) matcher {
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
	c.alone, c.written = strings.CutPrefix(c.name, service+"/")
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
