package static

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/linkmesh/link/discovery"
)

// Find implements discovery.Finder. It never blocks.
func (r *Registry) Find(ctx context.Context, q discovery.TagQuery) (<-chan []string, error) {
	// Hold the lock so that no change happens between the two calls.
	r.mu.Lock()
	defer r.mu.Unlock()
	ch, err := r.names.Find(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("static: %w", err)
	}
	r.publishNamesLocked()
	return ch, nil
}

// publishNamesLocked publishes the services of every tag that is watched.
func (r *Registry) publishNamesLocked() {
	queries, _ := r.names.Queries()
	if len(queries) == 0 {
		return
	}
	found := make(map[discovery.TagQuery]map[string]bool, len(queries))
	for _, q := range queries {
		found[q] = make(map[string]bool)
	}
	for _, set := range []map[string]discovery.Instance{r.listed, r.joined} {
		for _, in := range set {
			for _, tag := range in.Tags {
				if services := found[discovery.TagQuery{Tag: tag, Namespace: in.Namespace}]; services != nil {
					services[in.Service] = true
				}
			}
		}
	}
	for q, services := range found {
		r.names.Publish(q, slices.Sorted(maps.Keys(services)))
	}
}
