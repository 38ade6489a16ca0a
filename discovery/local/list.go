//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
	"github.com/linkmesh/link/internal/limitlog"
)

// Services implements discovery.Lister. It reads all files.
func (r *Registry) Services(ctx context.Context, namespace string) ([]string, error) {
	names, err := r.services(ctx, namespace)
	if err != nil {
		return nil, fmt.Errorf("local: services: %w", err)
	}
	return names, nil
}

func (r *Registry) services(ctx context.Context, namespace string) ([]string, error) {
	q := discovery.Query{Namespace: namespace}.Normalized()
	if err := q.ValidateNamespace(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := r.ready(); err != nil { //nolint:contextcheck // the poller outlives this call
		return nil, err
	}
	// Use a separate scanner: that of the poller belongs to its goroutine. The poller logs problems, so
	// this one does not.
	s := newScanner(r.dir, r.coder, limitlog.New(slog.New(slog.DiscardHandler)))
	if _, err := s.scan(nil); err != nil {
		return nil, err
	}
	scanners := []*scanner{s}
	if r.dir.twin != nil {
		twin := newScanner(*r.dir.twin, r.coder, s.log)
		twin.scanLent(nil)
		scanners = append(scanners, twin)
	}
	found := make(map[string]bool)
	for _, s := range scanners {
		for _, e := range s.entries {
			if e.settled() && e.query.Namespace == q.Namespace {
				found[e.query.Service] = true
			}
		}
	}
	names := slices.Sorted(maps.Keys(found))
	return names[:min(len(names), bounds.MaxServices)], nil
}
