package pubsub

import (
	"time"

	"github.com/linkmesh/link"
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
// with the reason "refused". Allow is called by many goroutines and should be quick.
func Authorize(node *link.Node, allow func(Access) error) {
	rulesOf(node).allow.Store(&allow)
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

// mayBlock limits the time that a peer asks publishers to wait to what the node allows. It
// returns an error if the node allows none.
func (h *hub) mayBlock(peer link.Peer, ask *subscribe) error {
	if ask.Block <= 0 {
		return nil
	}
	most := time.Duration(h.rules.block.Load())
	if most == 0 {
		return link.Errorf(link.PermissionDenied, "%s may not make publishers wait: this node does not allow pubsub.Backpressure; subscribe without it, or have the node call pubsub.AllowBackpressure", peer.Service())
	}
	ask.Block = min(ask.Block, most.Microseconds(), maxBlock.Microseconds())
	return nil
}

// access returns the Access for a path, which is a pattern or topic as the log names it.
func access(peer link.Peer, verb Verb, path string) Access {
	r, topic := realmOf(path)
	return Access{Peer: peer, Verb: verb, Topic: topic, Shared: r.kind == shared, Broadcast: r.kind == broadcast, Dead: r.dead}
}

// mayRead returns why a peer may not subscribe to what it asks for, nil if it may.
func (h *hub) mayRead(peer link.Peer, ask *subscribe) error {
	if err := h.mayBlock(peer, ask); err != nil {
		return err
	}
	allow := h.rules.allow.Load()
	if allow == nil {
		return nil
	}
	for _, pattern := range ask.Patterns {
		a := access(peer, CanRead, pattern)
		a.Group, a.Block = ask.Group, time.Duration(max(ask.Block, 0))*time.Microsecond
		if err := (*allow)(a); err != nil {
			return link.Errorf(link.PermissionDenied, "%s may not subscribe to %q: %w", peer.Service(), a.Topic, err)
		}
	}
	return nil
}

// maxDecisions bounds the topics of one publisher for which a subscription caches the
// decision. A full cache is discarded.
const maxDecisions = 1024

// mayWrite reports whether a subscription takes messages of a topic. It must be called by
// the goroutine that reads the subscription.
func (m *member) mayWrite(r *rules, c *conn, path string) bool {
	allow := r.allow.Load()
	if allow == nil {
		return true
	}
	if ok, known := m.decided[path]; known && m.decidedBy == allow {
		return ok
	}
	if m.decided == nil || m.decidedBy != allow || len(m.decided) >= maxDecisions {
		m.decided, m.decidedBy = make(map[string]bool), allow
	}
	ok := (*allow)(access(c.peer, CanWrite, path)) == nil
	m.decided[path] = ok
	return ok
}
