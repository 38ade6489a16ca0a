package serve

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/linkmesh/link/internal/spell"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
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
		of, name := subject.RealmOf(pattern)
		if of.Kind == subject.Broadcast {
			return true
		}
		// A node that publishes to a topic may also publish its dead letters.
		of.Dead = false
		pattern = of.Prefix() + name
		for path := range t.paths {
			if subject.Meets(pattern, path) {
				return true
			}
		}
	}
	return false
}

// near returns the names of topics in the same realm that are similar to patterns and that
// allow permits. It asks allow, which is a user's code, without the lock and once for each topic at most.
func (t *topics) near(patterns []string, allow func(path string) bool) (out []string) {
	t.mu.Lock()
	paths := slices.Collect(maps.Keys(t.paths))
	t.mu.Unlock()
	allowed := make(map[string]bool)
	permits := func(path string) bool {
		ok, asked := allowed[path]
		if !asked {
			ok = allow(path)
			allowed[path] = ok
		}
		return ok
	}
	for _, pattern := range patterns {
		of, word := subject.RealmOf(pattern)
		of.Dead = false
		// A name is compared with as many tokens of the pattern as it has itself.
		byTokens := make(map[int][]string)
		for _, path := range paths {
			if r, name := subject.RealmOf(path); r == of && permits(path) {
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

// tellTopics tells a subscription that has lasted for [frame.IdleAfter] if nobody publishes what it
// asks for, and tells it again when that has changed.
func (s *session) tellTopics() error {
	version := s.hub.topics.version.Load() + 1
	if version == s.looked || s.hub.since()-s.began < frame.IdleAfter {
		return nil
	}
	s.looked = version
	none := !s.hub.topics.meet(s.patterns)
	if none == s.unpublished.Load() {
		return nil
	}
	s.unpublished.Store(none)
	say := &frame.Published{Any: !none}
	if none {
		say.Near = s.hub.topics.near(s.patterns, func(path string) bool {
			return s.hub.mayRead(s.peer, &frame.Subscribe{Patterns: []string{path}}) == nil
		})
	}
	return s.out.Topics(say)
}
