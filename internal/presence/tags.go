package presence

import (
	"fmt"
	"maps"
	"slices"

	"github.com/linkmesh/link/internal/bounds"
)

// TooManyTagsError is why a tag cannot be added.
type TooManyTagsError struct{ Tag string }

// Error implements error.
func (e *TooManyTagsError) Error() string {
	return fmt.Sprintf("the tag %q is one too many, because a node has at most %d; remove one", e.Tag, bounds.MaxTags)
}

// Tags returns the tags that the node has at this moment, sorted: those of the configuration, those whose probes
// succeed, and those that were added. They must not be modified.
func (p *Presence) Tags() []string { return *p.tags.Load() }

// Add adds a tag, which must be valid. Tags are counted: one that was added twice has to be removed twice. The error is
// a [*TooManyTagsError].
func (p *Presence) Add(tag string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.added[tag] == 0 {
		possible := slices.Concat(p.cfg.Tags, slices.Collect(maps.Keys(p.cfg.Probes)), slices.Collect(maps.Keys(p.added)), []string{tag})
		slices.Sort(possible)
		if n := len(slices.Compact(possible)); n > bounds.MaxTags {
			return &TooManyTagsError{tag}
		}
	}
	p.added[tag]++
	p.settleLocked()
	return nil
}

// Remove takes back one Add of a tag. Without one it does nothing.
func (p *Presence) Remove(tag string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.added[tag] {
	case 0:
		return
	case 1:
		delete(p.added, tag)
	default:
		p.added[tag]--
	}
	p.settleLocked()
}

// probe records whether the probe of tag succeeds.
func (p *Presence) probe(tag string, succeeds bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probed[tag] = succeeds
	p.settleLocked()
}

// has reports whether the probe of tag succeeds.
func (p *Presence) has(tag string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.probed[tag]
}

// settleLocked recomputes the tags, and has them announced if they changed.
func (p *Presence) settleLocked() {
	tags := slices.Clone(p.cfg.Tags)
	for tag, succeeds := range p.probed {
		if succeeds {
			tags = append(tags, tag)
		}
	}
	tags = slices.AppendSeq(tags, maps.Keys(p.added))
	slices.Sort(tags)
	tags = slices.Compact(tags)
	if last := p.tags.Load(); last != nil && slices.Equal(*last, tags) {
		return
	}
	p.tags.Store(&tags)
	p.changed.Set()
}
