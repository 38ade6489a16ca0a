// Package pubsub is publish/subscribe over link: typed topics with no broker,
// where nothing is lost in silence.
//
// # Overview
//
// A [Topic] belongs to a service and is declared once. The service's instances
// publish with a [Publisher]; anybody subscribes with [Subscribe], which connects
// to every instance of the service that the topology lets through, follows those
// that come and go, and yields the messages of all of them.
//
// # Usage
//
//	var Placed = pubsub.NewTopic[Order]("orders", "placed")
//
//	pub, err := pubsub.NewPublisher(node, Placed)
//	report, err := pub.Publish(order, pubsub.Key(order.ID))
//
//	sub, err := pubsub.Subscribe(ctx, node, Placed)
//	for m := range sub.All() {
//		if m.Gap != nil { … } // what was lost, how much and why
//		use(m.Value)
//	}
//
// # Topics
//
// A topic's name is tokens parted by dots, "placed.eu.42"; a topic to subscribe to
// may be a pattern: "*" stands for one token, and ">" at the end for one or more.
// [Under] publishes below a topic's name.
//
// # Guarantees
//
// The classes are [BestEffort], the default, [Latest], [Reliable] and
// [AtLeastOnce]; docs/guarantees.md has a table of what each keeps, drops and
// tells. For all of them: messages of one publisher and one priority come in the
// order in which they were published, and what a subscriber receives plus its gaps
// is what was published to it. A subscriber that does not read delays neither the
// publisher nor others; when it has taken nothing for [StuckTime] it is
// disconnected.
//
// # Concurrency
//
// A Publisher is safe for concurrent use. A [Subscription] is ranged over by one
// goroutine; its other methods, and those of messages, may be called by any.
//
// # Errors
//
// Every error is a *link.Error; test it with errors.Is and a link.Code.
package pubsub

import (
	"strings"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// What publishers and subscribers hold each other to.
const (
	// StuckTime is how long a subscriber may take nothing while messages wait for
	// it before its publisher ends the stream.
	StuckTime = 30 * time.Second
	// ConfirmTime is how long Subscribe waits for the publishers that are known;
	// those that have not answered by then are joined in the background.
	ConfirmTime = 2 * time.Second
	// MaxSubscriptions bounds the subscriptions of one peer at one publisher.
	MaxSubscriptions = 1024
	// MaxBlock bounds the time of [Block].
	MaxBlock = 10 * time.Second
	// HeartbeatEvery is how often an idle subscription is told how far it is.
	HeartbeatEvery = time.Second
)

// The frames of a subscription's stream; see docs/wire.md.
const (
	kindSubscribe  link.FrameKind = 0x40
	kindSubscribed link.FrameKind = 0x41
	kindRecords    link.FrameKind = 0x42
	kindVerdict    link.FrameKind = 0x43
)

// route is where every subscription of a service is opened.
func route(service string) link.Route {
	return link.Route{Service: service, Name: "_link/subscribe", Kind: link.Topic}
}

// Topic is a topic with its type. Topics are comparable values.
type Topic[T any] struct{ service, name string }

// NewTopic declares a topic of a service. A bad name is reported by the first
// NewPublisher or Subscribe that uses it. A name with "*" or ">" is a pattern, to
// subscribe to only.
func NewTopic[T any](service, name string) Topic[T] { return Topic[T]{service, name} }

// Service returns the service whose instances publish.
func (t Topic[T]) Service() string { return t.service }

// Name returns the name within the service.
func (t Topic[T]) Name() string { return t.name }

// String returns "service/name".
func (t Topic[T]) String() string { return t.service + "/" + t.name }

// route is what the topology decides by: the topic's own name.
func (t Topic[T]) route() link.Route {
	return link.Route{Service: t.service, Name: strings.ReplaceAll(t.name, ">", "*"), Kind: link.Topic}
}

func (t Topic[T]) checkName() error {
	if err := subject.Valid(t.name); err != nil {
		return link.Errorf(link.InvalidArgument, "topic %s: %w", t, err)
	}
	return nil
}

func (t Topic[T]) checkPattern() error {
	if err := subject.ValidPattern(t.name); err != nil {
		return link.Errorf(link.InvalidArgument, "topic %s: %w", t, err)
	}
	return nil
}

// Covers reports whether every topic that pattern b matches is matched by pattern
// a as well. It is how a rule such as "may subscribe to orders.>" is checked.
func Covers(a, b string) bool { return subject.Covers(a, b) }

// Report is what became of a message when it was published: how many
// subscriptions asked for it, how many of those have it before them, and how many
// messages overflowed one because of it, each of which is told as a [Gap].
type Report = journal.Report
