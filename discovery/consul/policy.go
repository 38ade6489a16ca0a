package consul

import (
	"context"
	"fmt"
	"time"

	"github.com/linkmesh/link/discovery"
)

const (
	policyPrefix = "link/topology/"

	// policyPoll is the interval between the queries of a policy watch without a blocking query. It
	// is long because people change policies manually, and because agents do not cache KV, so that
	// every query goes to the servers.
	policyPoll = 15 * time.Second

	// maxPolicies is the maximum number of open policy watches of one Registry.
	maxPolicies = 10_000
)

func policyKey(q discovery.Query) string {
	if q.Namespace == discovery.DefaultNamespace {
		return policyPrefix + q.Service
	}
	return policyPrefix + q.Namespace + "/" + q.Service
}

// WatchPolicy implements discovery.PolicyWatcher. The documents are in Consul's KV store under
// link/topology/<service>, or link/topology/<namespace>/<service> for a namespace other than default.
// The first state comes when Consul has answered or failed. Config.StateDir also keeps the state,
// even that there is no document, for a start without Consul.
func (r *Registry) WatchPolicy(ctx context.Context, q discovery.Query) (<-chan discovery.PolicyDocument, error) {
	if err := q.Validate(); err != nil {
		return nil, fmt.Errorf("consul: %w", err)
	}
	q = q.Normalized()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("consul: watch policy of %s: %w", q, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.shut:
		return nil, fmt.Errorf("consul: watch policy of %s: %w", q, discovery.ErrClosed)
	case r.policies >= maxPolicies:
		return nil, fmt.Errorf("consul: watch policy of %s: %w: %d are open; end some", q, discovery.ErrLimit, r.policies)
	}
	r.policies++
	r.saveLocked()
	ch := make(chan discovery.PolicyDocument, 1)
	w := &policyWatch{r: r, q: q, key: policyKey(q), ch: ch}
	ctx, cancel := bind(ctx, r.group)
	r.group.Go(func(context.Context) {
		defer cancel()
		w.run(ctx)
	})
	return ch, nil
}
