// Package pubsub is publish/subscribe over link: typed topics without a broker,
// in which no message is lost silently.
//
// # Overview
//
// A [Topic] belongs to a service and is declared once. The service's instances
// publish with a [Publisher]. Any node subscribes with [Subscribe] or [SubscribeFunc],
// which connects to every instance of the service that the topology allows, follows
// instances as they come and go, and yields the messages of all of them. Any service
// may publish to a shared topic ([NewSharedTopic]); [Broadcast] needs no topic.
//
// # Usage
//
//	var Placed = pubsub.NewTopic[Order]("orders", "placed")
//
//	pub, err := pubsub.NewPublisher(node, Placed)
//	report, err := pub.Publish(ctx, order, pubsub.Key(order.ID))
//
//	sub, err := pubsub.Subscribe(ctx, node, Placed)
//	for m := range sub.Messages() {
//		if m.Gap != nil { … } // what was lost, how much and why
//		use(m.Value)
//	}
//
//	sub, err := pubsub.SubscribeFunc(ctx, node, Placed, handle, pubsub.AtLeastOnce)
//
// # Topics
//
// A topic's name consists of tokens separated by dots, "placed.eu.42". A topic to
// subscribe to may be a pattern: "*" stands for one token, and ">" at the end for one
// or more. [Below] publishes below a topic's name.
//
// # Guarantees
//
// The classes are [BestEffort], the default, [Latest], [Reliable] and
// [AtLeastOnce]; docs/guarantees.md has a table of what each keeps, drops and
// reports. In all of them, messages of one publisher and one priority arrive in the
// order in which they were published, and what a subscriber receives plus its gaps
// is what was published to it. A subscriber that does not read delays neither the
// publisher nor other subscribers; after taking nothing for 30 s it is
// disconnected.
//
// # Authorization
//
// Both sides of each stream are authenticated as for calls. [Authorize] decides who may
// subscribe to what at a node, and whose messages the node's subscriptions take.
//
// # Introspection
//
// [StatsOf], and [QueryStats] for another node, report how far behind each subscription
// is and what it missed.
//
// # Concurrency
//
// A Publisher is safe for concurrent use. A [Subscription] is ranged over by one
// goroutine; its other methods, and the methods of messages, are safe for concurrent use.
//
// # Errors
//
// Every error is a *link.Error; test it with errors.Is and a link.Code.
package pubsub
