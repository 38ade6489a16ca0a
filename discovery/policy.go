package discovery

import "context"

// PolicyWatcher is implemented by registries that also keep routing policies: the documents of
// package topology, one for each service.
//
// What it yields is a registry's word, no more trusted than its instances: package link lets such
// a document send calls to another service only where the node's own configuration allows that.
type PolicyWatcher interface {
	// WatchPolicy follows the document about the service that q selects until ctx ends, and then
	// closes the channel. As with Registry.Watch the channel holds the newest state only; the first
	// comes promptly, with a nil Document if the registry keeps none. While the registry cannot be
	// read the last document stays in force, marked Stale; if there was none since the start, it is
	// one kept from an earlier run, or nil.
	//
	// Errors: those of Registry.Watch.
	WatchPolicy(ctx context.Context, q Query) (<-chan Policy, error)
}

// Policy is the document about one service at one moment. It is shared by all receivers and must
// not be modified.
type Policy struct {
	// Document is the text as it was found, at most MaxPolicy bytes; nil if there is none.
	Document []byte

	// Origin names where it was found, for messages: "Consul KV link/topology/orders".
	Origin string

	// Stale says that the registry could not be read since, and Reason why, in one line.
	Stale  bool
	Reason string
}

// MaxPolicy bounds a policy document, in bytes. Consul's own limit for a value is 512 KiB.
const MaxPolicy = 512 << 10
