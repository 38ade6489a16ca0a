package pubsub

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/spell"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// maxTopics bounds the topics that a node remembers it has publishers of. One that has more
// says of no topic that nobody publishes to it.
const maxTopics = 4096

// topics are those that a node has, or had, a publisher of: a subscription that meets none
// of them may have a wrong name.
type topics struct {
	version atomic.Uint64 // counts those that were added

	mu    sync.Mutex // guards the fields below
	paths map[string]struct{}
	many  bool // there were more than maxTopics
}

// add notes that there is a publisher of a path.
func (t *topics) add(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.paths[path]; ok || t.many {
		return
	}
	if t.paths == nil {
		t.paths = make(map[string]struct{})
	}
	if t.many = len(t.paths) >= maxTopics; !t.many {
		t.paths[path] = struct{}{}
	}
	t.version.Add(1)
}

// meet reports whether a publisher of the node may publish what patterns select. Nobody
// declares broadcasts, so they always may.
func (t *topics) meet(patterns []string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.many {
		return true
	}
	for _, pattern := range patterns {
		of, name := realmOf(pattern)
		if of.kind == broadcast {
			return true
		}
		of.dead = false // the dead letters of a topic come with it
		pattern = of.prefix() + name
		for path := range t.paths {
			if subject.Meets(pattern, path) {
				return true
			}
		}
	}
	return false
}

// near returns the names of topics that are like those of patterns, of the same realm, as
// far as allow has it.
func (t *topics) near(patterns []string, allow func(path string) bool) (out []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, pattern := range patterns {
		of, word := realmOf(pattern)
		of.dead = false
		byTokens := make(map[int][]string) // names are compared with as much of the pattern as they have tokens
		for path := range t.paths {
			if r, name := realmOf(path); r == of && allow(path) {
				n := strings.Count(name, ".")
				byTokens[n] = append(byTokens[n], name)
			}
		}
		tokens := strings.Split(word, ".")
		for n := range tokens {
			out = append(out, spell.Nearest(strings.Join(tokens[:n+1], "."), slices.Values(byTokens[n]))...)
		}
	}
	return out[:min(len(out), spell.MaxProposed)]
}

// published is what a publisher says of the topics that a subscription asks for, once the
// subscription has lasted for a while, and again when that has changed.
type published struct {
	Any  bool     `cbor:"1,keyasint,omitempty"` // one of them has a publisher there
	Near []string `cbor:"2,keyasint,omitempty"` // if not: topics that have one, with names like theirs
}

// check refuses what no publisher says.
func (p *published) check() error {
	if len(p.Near) > spell.MaxProposed {
		return link.Errorf(link.InvalidArgument, "a TOPICS with %d names, of at most %d", len(p.Near), spell.MaxProposed)
	}
	for _, name := range p.Near {
		if err := subject.Valid(name); err != nil {
			return link.Errorf(link.InvalidArgument, "a TOPICS with a bad name: %w", err)
		}
	}
	return nil
}

// tellTopics tells a subscription that has lasted for idleAfter that nobody publishes what it
// asks for, and one that was told so that somebody does now.
func (s *session) tellTopics() error {
	version := s.hub.topics.version.Load() + 1
	if version == s.looked || s.hub.since()-s.began < idleAfter {
		return nil
	}
	s.looked = version
	none := !s.hub.topics.meet(s.patterns)
	if none == s.unpublished.Load() {
		return nil
	}
	s.unpublished.Store(none)
	say := &published{Any: !none}
	if none {
		say.Near = s.hub.topics.near(s.patterns, func(path string) bool { return s.hub.mayRead(s.peer, &subscribe{Patterns: []string{path}}) == nil })
	}
	return s.out.topics(say)
}
