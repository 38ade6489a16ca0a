package pubsub

import (
	"time"

	"github.com/linkmesh/link"
)

// Verb is what an [Access] is about.
type Verb uint8

// The verbs.
const (
	// Read is a peer that subscribes at this node: Topic is its pattern.
	Read Verb = iota
	// Write is a peer whose message a subscription of this node would take: Topic is
	// the message's topic.
	Write
	// Inspect is a peer that asks for [Stats]: Topic is empty.
	Inspect
)

// String returns "subscribe to", "publish to" or "inspect".
func (v Verb) String() string {
	switch v {
	case Write:
		return "publish to"
	case Inspect:
		return "inspect"
	case Read:
	}
	return "subscribe to"
}

// Access is what a peer asks for.
type Access struct {
	Peer  link.Peer
	Verb  Verb
	Topic string
	// Group is the group that a subscription of Read wants to be a member of, "" if none. What
	// one member gets the others do not, whatever service they are of.
	Group string
	// Block is how long publishers of the node would wait for the subscription, for each
	// message; see [AllowBlock]. 0 if it did not ask, or may not.
	Block time.Duration
	// Shared says that the topic is a shared one, Broadcast that it is the name of the
	// type of a broadcast, and Dead that it is about the dead letters of the topic.
	Shared, Broadcast, Dead bool
}

// Authorize lets allow decide which peers may subscribe at node, and whose messages its
// subscriptions take: it returns why not, nil if they may. Compare patterns with
// [Covers]: a rule for "placed.eu" says nothing about "placed.>". Without it every peer
// of the mesh may. It holds for subscriptions that begin later, and for messages at
// once, each topic of a publisher being asked about once in a while; a message that is
// refused is told as a gap with the reason "refused". Allow is called by many goroutines
// and should be quick.
func Authorize(node *link.Node, allow func(Access) error) {
	rulesOf(node).allow.Store(&allow)
}

// AllowBlock lets subscriptions of other nodes make the publishers of node wait with
// [Block], for so long at the most for each message: what they ask for beyond that is cut.
// Zero, which is what holds without a call, refuses subscriptions that ask for it, with
// PermissionDenied: who publishes says whether a slow reader may slow it down. Rules of
// [Authorize] see the time as [Access].Block. It holds for subscriptions that begin later;
// those of the node itself need no leave.
func AllowBlock(node *link.Node, most time.Duration) {
	rulesOf(node).block.Store(int64(max(most, 0)))
}

// mayBlock cuts what a peer asks of publishers to what it may.
func (h *hub) mayBlock(peer link.Peer, ask *subscribe) error {
	if ask.Block <= 0 {
		return nil
	}
	most := time.Duration(h.rules.block.Load())
	if most == 0 {
		return link.Errorf(link.PermissionDenied, "%s may not make publishers wait: this node does not allow pubsub.Block; subscribe without it, or have the node call pubsub.AllowBlock", peer.Service())
	}
	ask.Block = min(ask.Block, most.Microseconds(), MaxBlock.Microseconds())
	return nil
}

// access describes a pattern or topic as it is in a log.
func access(peer link.Peer, verb Verb, path string) Access {
	r, topic := realmOf(path)
	return Access{Peer: peer, Verb: verb, Topic: topic, Shared: r.kind == shared, Broadcast: r.kind == broadcast, Dead: r.dead}
}

// mayRead returns why a peer may not subscribe to what it asks for.
func (h *hub) mayRead(peer link.Peer, ask *subscribe) error {
	if err := h.mayBlock(peer, ask); err != nil {
		return err
	}
	allow := h.rules.allow.Load()
	if allow == nil {
		return nil
	}
	for _, pattern := range ask.Patterns {
		a := access(peer, Read, pattern)
		a.Group, a.Block = ask.Group, time.Duration(max(ask.Block, 0))*time.Microsecond
		if err := (*allow)(a); err != nil {
			return link.Errorf(link.PermissionDenied, "%s may not subscribe to %q: %w", peer.Service(), a.Topic, err)
		}
	}
	return nil
}

// maxDecisions is how many topics of one publisher a subscription remembers a decision
// about; then it asks anew.
const maxDecisions = 1024

// mayWrite reports whether a subscription takes messages of a topic. It belongs to the
// goroutine that reads the subscription.
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
	ok := (*allow)(access(c.peer, Write, path)) == nil
	m.decided[path] = ok
	return ok
}
