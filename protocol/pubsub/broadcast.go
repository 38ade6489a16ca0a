package pubsub

import (
	"context"

	"github.com/linkmesh/link"
)

// Broadcast sends v to every peer that listens to the broadcasts of node's service, of
// v's type: see [Broadcasts]. Nobody has to declare a topic. It reaches those that are
// connected when it is called and keeps order, as [Publisher.Publish] does, whose errors
// it has.
func Broadcast[T any](ctx context.Context, node *link.Node, v T, opts ...PublishOption) (Report, error) {
	p, err := NewPublisher(node, Broadcasts[T](node.Identity().Service()))
	if err != nil {
		return Report{}, err
	}
	return p.Publish(ctx, v, opts...)
}
