package static

import (
	"context"
	"fmt"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

// Register implements discovery.Registry. The instance is visible to the watchers of this
// Registry value only. It never blocks.
func (r *Registry) Register(ctx context.Context, in discovery.Instance) (discovery.Registration, error) {
	if err := in.Validate(); err != nil {
		return nil, fmt.Errorf("static: register: %w", err)
	}
	// An instance that registers itself knows its tags.
	in.TagsUnknown = false
	in = in.Normalized()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("static: register %s: %w", in.ID, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("static: register %s: %w", in.ID, discovery.ErrClosed)
	}
	_, listed := r.listed[in.ID]
	_, joined := r.joined[in.ID]
	if listed || joined {
		return nil, fmt.Errorf("static: register %s: %w", in.ID, discovery.ErrDuplicateID)
	}
	q := in.Query()
	if n := len(r.selectLocked(q)); n >= bounds.MaxInstances {
		return nil, fmt.Errorf("static: register %s: %w: %d instances of %s", in.ID, discovery.ErrLimit, n, q)
	}
	r.joined[in.ID] = in
	r.publishLocked(q)
	return &registration{registry: r, id: in.ID, query: q}, nil
}

// registration implements discovery.Registration. The registry's lock guards closed.
type registration struct {
	registry *Registry
	id       string
	query    discovery.Query
	closed   bool
}

func (g *registration) Update(ctx context.Context, in discovery.Instance) error {
	if err := in.Validate(); err != nil {
		return fmt.Errorf("static: update %s: %w", g.id, err)
	}
	in.TagsUnknown = false
	in = in.Normalized()
	if err := in.ValidateUpdate(g.id, g.query); err != nil {
		return fmt.Errorf("static: update %s: %w", g.id, err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("static: update %s: %w", g.id, err)
	}
	r := g.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if g.closed || r.closed {
		return fmt.Errorf("static: update %s: %w", g.id, discovery.ErrClosed)
	}
	r.joined[g.id] = in
	r.publishLocked(g.query)
	return nil
}

func (g *registration) Close() error {
	r := g.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if g.closed || r.closed {
		return nil
	}
	g.closed = true
	delete(r.joined, g.id)
	r.publishLocked(g.query)
	return nil
}
