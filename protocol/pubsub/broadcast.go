package pubsub

import (
	"context"

	"github.com/linkmesh/link"
)

// Broadcast sends v to every peer that is subscribed to the broadcasts of v's type by
// node's service; see [BroadcastTopic]. No topic has to be declared. Like [Publisher.Publish],
// whose errors it returns, it reaches the peers that are connected when it is called, and
// keeps the order of messages.
func Broadcast[T any](ctx context.Context, node *link.Node, v T, opts ...PublishOption) (Report, error) {
	p, err := NewPublisher(node, BroadcastTopic[T](node.Identity().Service()))
	if err != nil {
		return Report{}, err
	}
	return p.Publish(ctx, v, opts...)
}
