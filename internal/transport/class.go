package transport

// Class says what a connection is for, so that bulk never delays calls. It is the dialer's matter: a server treats
// both alike.
type Class int

// The classes of connections.
const (
	ClassCalls Class = iota // unary calls
	ClassBulk               // large messages, subscriptions, tasks
)
