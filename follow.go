package link

import (
	"context"

	"github.com/linkmesh/link/discovery"
)

// Follow sends the instances that a route may reach, by the topology for a call
// with these options, now and whenever they change, until ctx ends or the node
// closes; then the channel is closed. It is for patterns that talk to all instances
// rather than to one: open a stream to each with [OnInstance].
//
// Only the first level of the topology that has an instance counts; all targets of
// a split count. Instances that drain are left out. Instances that cannot be reached
// at the moment are included, unless only they can tell whether they have the
// required tags.
// The channel holds the newest list only; a list is sorted by ID and must not be
// modified. The first comes when the registry has answered.
//
// Errors: those of [Node.Call] before it sends anything.
func (n *Node) Follow(ctx context.Context, r Route, opts ...CallOption) (<-chan []discovery.Instance, error) {
	if err := r.Validate(); err != nil {
		return nil, failed("follow "+r.String(), err)
	}
	list, err := n.router.Follow(ctx, askOf(r, opts))
	if err != nil {
		return nil, failed("follow "+r.String(), routed(err))
	}
	return list, nil
}
