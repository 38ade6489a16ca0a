package router

import (
	"context"
	"testing"

	"github.com/linkmesh/link/discovery"
)

// TestAFollowerTakesAwayOnlyWhatItPutThere has a service forgotten and known again, ends its first follower after the
// second has started, and expects the document of the second to stay.
func TestAFollowerTakesAwayOnlyWhatItPutThere(t *testing.T) {
	r := newRouter(t, Config{})
	const text = "version: link/v1\nservices: { orders: { subsets: { a: { tags: [a] } }, routes: [{ to: a }] } }\n"
	policy := discovery.PolicyDocument{Document: []byte(text), Origin: "KV link/topology/orders"}
	unreadable := discovery.PolicyDocument{Stale: true, Reason: "it cannot be read"}
	ctx, end := context.WithCancel(t.Context())
	first, second := &follower{policies: &r.policy, service: "orders"}, &follower{policies: &r.policy, service: "orders"}
	first.take(ctx, policy)
	first.take(ctx, discovery.PolicyDocument{Stale: true, Reason: "it could not be read"})
	end()
	second.take(t.Context(), policy)
	second.take(t.Context(), unreadable)
	// The policy was in flight when the follower ended.
	first.take(ctx, discovery.PolicyDocument{})
	first.leave()
	if got := r.Documents(); len(got) != 1 || got[0].Stale != unreadable.Reason || r.policy.current() == nil {
		t.Errorf("after the first follower has ended: %+v; want the document of the second, as it knows it", got)
	}
	second.leave()
	if got := r.Documents(); len(got) != 0 || r.policy.current() != nil {
		t.Errorf("after both have ended: %+v, want nothing", got)
	}
}
