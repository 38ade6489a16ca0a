package pubsub

import "github.com/linkmesh/link"

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

// access describes a pattern or topic as it is in a log.
func access(peer link.Peer, verb Verb, path string) Access {
	r, topic := realmOf(path)
	return Access{Peer: peer, Verb: verb, Topic: topic, Shared: r.kind == shared, Broadcast: r.kind == broadcast, Dead: r.dead}
}

// mayRead returns why a peer may not subscribe to what it asks for.
func (h *hub) mayRead(peer link.Peer, ask *subscribe) error {
	allow := h.rules.allow.Load()
	if allow == nil {
		return nil
	}
	for _, pattern := range ask.Patterns {
		a := access(peer, Read, pattern)
		a.Group = ask.Group
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
