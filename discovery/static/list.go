package static

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

// Services implements discovery.Lister. It never blocks.
func (r *Registry) Services(ctx context.Context, namespace string) ([]string, error) {
	q := discovery.Query{Namespace: namespace}.Normalized()
	if err := q.ValidateNamespace(); err != nil {
		return nil, fmt.Errorf("static: services: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("static: services: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("static: services: %w", discovery.ErrClosed)
	}
	found := make(map[string]bool)
	for _, set := range []map[string]discovery.Instance{r.listed, r.joined} {
		for _, in := range set {
			if in.Namespace == q.Namespace {
				found[in.Service] = true
			}
		}
	}
	names := slices.Sorted(maps.Keys(found))
	return names[:min(len(names), bounds.MaxServices)], nil
}
