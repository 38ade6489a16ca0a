package transport

// Class is the purpose of a connection. Bulk traffic has connections of its own, so that it never delays calls. Only
// the dialer distinguishes classes: a server treats both alike.
type Class int

// The classes of connections.
const (
	ClassCalls Class = iota // unary calls
	ClassBulk               // large messages, subscriptions, tasks
)
