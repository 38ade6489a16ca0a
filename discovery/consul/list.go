package consul

import (
	"context"
	"fmt"
	"slices"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
)

// Services implements discovery.Lister for the agent's own datacenter. With Consul before 1.14 the
// list has the services of all namespaces, and services that link did not register.
func (r *Registry) Services(ctx context.Context, namespace string) ([]string, error) {
	q := discovery.Query{Namespace: namespace}.Normalized()
	if err := q.ValidateNamespace(); err != nil {
		return nil, fmt.Errorf("consul: services: %w", err)
	}
	r.mu.Lock()
	shut := r.shut
	r.mu.Unlock()
	if shut {
		return nil, fmt.Errorf("consul: services: %w", discovery.ErrClosed)
	}
	ctx, cancel := bind(ctx, r.group)
	defer cancel()
	return r.client.askServices(ctx, q.Namespace)
}

// askServices queries the names of the services of a namespace.
func (c *client) askServices(ctx context.Context, namespace string) ([]string, error) {
	var raw map[string][]string
	p := errand{what: "list the services of namespace " + namespace, needs: readRule, limit: maxAnswer}
	_, _, err := c.query(ctx, p, "/v1/catalog/services", namespaceFilter(namespace), question{}, func() any {
		raw = nil
		return &raw
	})
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(raw))
	for name := range raw {
		if (discovery.Query{Service: name}).Validate() == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), bounds.MaxServices)], nil
}

// namespaceFilter selects the catalog services that link has registered in the namespace.
func namespaceFilter(namespace string) string {
	return `ServiceMeta["` + metaNamespace + `"] == "` + namespace + `"`
}
