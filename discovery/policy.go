package discovery

import "context"

// PolicyWatcher is implemented by registries that also store routing policies: the documents of
// package topology, one for each service.
//
// Policies are trusted no more than the instances of a registry: package link lets such a document
// send calls to another service only where the node's own configuration allows that.
type PolicyWatcher interface {
	// WatchPolicy follows the document about the service that q selects until ctx ends, and then
	// closes the channel. As with Registry.Watch, the channel holds only the newest state. The first
	// comes promptly, with a nil Document if the registry has none. While the registry cannot be
	// read, the last document stays in force, marked Stale. If none was read since the start, it is
	// one kept from an earlier run, or nil.
	//
	// Errors: those of Registry.Watch.
	WatchPolicy(ctx context.Context, q Query) (<-chan PolicyDocument, error)
}

// PolicyDocument is the document about one service at one moment. It is shared by all receivers and must
// not be modified.
type PolicyDocument struct {
	// Document is the unmodified text, at most 512 KiB, or nil if there is no document.
	Document []byte

	// Origin names the source of the document for messages: "Consul KV link/topology/orders".
	Origin string

	// Stale means that the registry could not be read since. Reason says why, in one line.
	Stale  bool
	Reason string
}
