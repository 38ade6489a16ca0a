package pubsub

import (
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// Verb is the kind of an [Access].
type Verb uint8

// The verbs.
const (
	// CanRead means that a peer subscribes at this node. Topic is its pattern.
	CanRead Verb = iota
	// CanWrite means that a subscription of this node would take a message of the peer.
	// Topic is the message's topic.
	CanWrite
	// CanInspect means that a peer asks for [Stats]. Topic is empty.
	CanInspect
)

// String returns "subscribe to", "publish to" or "inspect".
func (v Verb) String() string {
	switch v {
	case CanWrite:
		return "publish to"
	case CanInspect:
		return "inspect"
	case CanRead:
	}
	return "subscribe to"
}

// Access is what a peer asks for.
type Access struct {
	Peer  link.Peer
	Verb  Verb
	Topic string
	// Group is the group that a subscription (CanRead) wants to join, "" if none. A message
	// that goes to one member does not go to the others, whatever services they belong to.
	Group string
	// Block is how long publishers of the node would wait for the subscription, for each
	// message; see [AllowBackpressure]. It is 0 if the subscription did not ask for it.
	Block time.Duration
	// Shared reports a shared topic, Broadcast a broadcast whose type has the name Topic,
	// and Dead the dead letters of the topic.
	Shared, Broadcast, Dead bool
}

// Authorize lets allow decide which peers may subscribe at node, and whose messages the
// node's subscriptions take. Allow returns nil to permit an access, otherwise the reason
// why not. Without Authorize every peer of the mesh is permitted.
//
// Compare patterns with [Covers]: a rule for "placed.eu" says nothing about "placed.>".
//
// The rule applies to subscriptions that begin later, and to messages at once; its answer
// for a topic of a publisher is cached for a while. A refused message is reported as a gap
// with the reason "refused". Allow is called by many goroutines and should be quick. A panic of
// allow refuses the access. If allow is nil, Authorize panics.
func Authorize(node *link.Node, allow func(Access) error) {
	if allow == nil {
		panic(link.Errorf(link.InvalidArgument, "pubsub.Authorize: the rule is nil")) //nolint:forbidigo // a programmer error at set-up
	}
	rulesOf(node).authorize(allow, link.HostOf(node).Logger())
}

// AllowBackpressure lets subscriptions of other nodes make the publishers of node wait with
// [Backpressure], for at most this long for each message; a longer request is shortened. The
// default is zero, which refuses subscriptions that ask for it with PermissionDenied, so
// that the publisher decides whether a slow reader may slow it down. Rules of [Authorize]
// see the time as [Access].Block. AllowBackpressure applies to subscriptions that begin later.
// Subscriptions of the node itself need no permission.
func AllowBackpressure(node *link.Node, most time.Duration) {
	rulesOf(node).block.Store(int64(max(most, 0)))
}

// access returns the Access for a path, which is a pattern or topic as the log names it.
func access(peer link.Peer, verb Verb, path string) Access {
	r, topic := subject.RealmOf(path)
	return Access{Peer: peer, Verb: verb, Topic: topic, Shared: r.Kind == subject.Shared, Broadcast: r.Kind == subject.Broadcast, Dead: r.Dead}
}
