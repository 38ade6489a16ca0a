package feed

import (
	"context"
	"slices"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

// Names delivers the newest list of services with each watched tag to its watchers. It serves Find
// as Feed serves Watch. It is safe for concurrent use.
type Names struct {
	hub[discovery.TagQuery, []string]
}

// NewNames returns a Names without watches.
func NewNames() *Names {
	return &Names{hub[discovery.TagQuery, []string]{topics: make(map[discovery.TagQuery]*topic[[]string])}}
}

// Find opens a watch of q. The errors are those of discovery.Finder.Find.
func (n *Names) Find(ctx context.Context, q discovery.TagQuery) (<-chan []string, error) {
	return n.watch(ctx, q.Normalized())
}

// Publish makes names the list of q and notifies the watchers if that changed anything. It takes
// ownership of names, which must be sorted and without duplicates. left is the number of names that
// were left out because of bounds.MaxServices, or 0 if the previous list was cut as well.
func (n *Names) Publish(q discovery.TagQuery, names []string) (left int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.topics[q]
	if t == nil {
		return 0
	}
	names, left = cut(names, t.last)
	was := t.cut
	t.cut = left > 0
	if !t.known || !slices.Equal(t.last, names) {
		t.deliver(names)
	}
	if was {
		return 0
	}
	return left
}

// Unread delivers an empty list to every watch that has not received one yet.
func (n *Names) Unread() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.topics {
		if !t.known {
			t.deliver(nil)
		}
	}
}

// cut limits a list to bounds.MaxServices names. Names that were there before are kept first, so
// that a flood of registrations cannot push them out.
func cut(names, before []string) (kept []string, left int) {
	left = len(names) - bounds.MaxServices
	if left <= 0 {
		return names, 0
	}
	kept = make([]string, 0, bounds.MaxServices)
	for _, wanted := range []bool{true, false} {
		for _, name := range names {
			if _, old := slices.BinarySearch(before, name); old == wanted && len(kept) < bounds.MaxServices {
				kept = append(kept, name)
			}
		}
	}
	slices.Sort(kept)
	return kept, left
}
