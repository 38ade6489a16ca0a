package link

import (
	"context"

	"github.com/linkmesh/link/topology"
)

// Explain reports where a call would go at this moment, and for each instance why
// it may or may not get the call; a [topology.Explanation] prints as text. Options
// that select instances or carry metadata apply as in a call. Explain sends nothing.
// It blocks until the registry has first answered, ctx ends, or Config.CallTimeout
// has passed.
//
// Errors: those of [Node.Instances].
func (n *Node) Explain(ctx context.Context, r Route, opts ...CallOption) (topology.Explanation, error) {
	if err := r.Validate(); err != nil {
		return topology.Explanation{}, failed("explain "+r.String(), err)
	}
	e, err := n.router.Explain(ctx, askOf(r, opts))
	if err != nil {
		return topology.Explanation{}, failed("explain "+r.String(), routed(err))
	}
	return e, nil
}
