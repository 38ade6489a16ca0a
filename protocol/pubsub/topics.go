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

// maxTopics bounds the published topics that a node remembers. A node with more topics never
// reports that nobody publishes to a topic.
const maxTopics = 4096

// topics are the topics that a node has, or had, a publisher of. A subscription that matches
// none of them may have a wrong name.
type topics struct {
	// version counts the topics that were added.
	version atomic.Uint64

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

// meet reports whether a publisher of the node may publish messages that patterns select. It
// is always true for broadcasts, which are not declared.
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
		// A node that publishes to a topic may also publish its dead letters.
		of.dead = false
		pattern = of.prefix() + name
		for path := range t.paths {
			if subject.Meets(pattern, path) {
				return true
			}
		}
	}
	return false
}

// near returns the names of topics in the same realm that are similar to patterns and that
// allow permits.
func (t *topics) near(patterns []string, allow func(path string) bool) (out []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, pattern := range patterns {
		of, word := realmOf(pattern)
		of.dead = false
		// A name is compared with as many tokens of the pattern as it has itself.
		byTokens := make(map[int][]string)
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

// published is a publisher's report on the topics that a subscription asks for. It is sent
// once the subscription has lasted for a while, and again when it changes.
type published struct {
	// Any is set if one of the topics has a publisher on the node.
	Any bool `cbor:"1,keyasint,omitempty"`
	// Near has published topics with similar names, if Any is not set.
	Near []string `cbor:"2,keyasint,omitempty"`
}

// check returns an error for a report that no publisher sends.
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

// tellTopics tells a subscription that has lasted for idleAfter if nobody publishes what it
// asks for, and tells it again when that has changed.
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
