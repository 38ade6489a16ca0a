// Package discovery is how the instances of a service announce themselves and how others find them.
//
// # Overview
//
// A [Registry] is two calls. Register announces one [Instance] and returns a [Registration], which
// updates, drains and withdraws it. Watch follows the instances of one service as full snapshots:
// a receiver never applies deltas, and one that falls behind sees the newest state only. What a
// registry may offer beside it are interfaces of their own: [Finder] says which services have an
// instance with a tag, [Lister] which services there are, [PolicyWatcher] keeps routing policies.
//
// Back ends live in packages of their own: discovery/local (files on one host, no server),
// discovery/static (a fixed or hand-fed list) and discovery/consul. Each of them passes the contract kit in
// discovery/discoverytest.
//
// What a registry says is a hint, never a proof: tags, addresses and even the service name are
// whatever the announcing side wrote. Who answers at an address is proved by mutual TLS alone.
//
// # Usage
//
//	reg, err := registry.Register(ctx, discovery.Instance{
//		ID:      discovery.NewInstanceID("orders"),
//		Service: "orders",
//		Addr:    "10.0.0.5:7443",
//		Tags:    []string{"v2", "zone=eu-1a"},
//	})
//	defer reg.Close()
//
//	snapshots, err := registry.Watch(ctx, discovery.Query{Service: "orders"})
//	for s := range snapshots {
//		use(s.Instances)
//	}
//
// # Guarantees
//
// A watch delivers its first snapshot promptly, even when it is empty, and one more after each
// change. When the registry cannot be read, the last known instances stay, marked Stale.
// Snapshots are sorted by ID, normalized (see [Instance.Normalized]) and never modified once sent.
// The same holds for the lists of a [Finder], which are sorted by name.
//
// # Concurrency
//
// Registry and Registration values are safe for concurrent use.
//
// # Errors
//
// Test with errors.Is: [ErrInvalidInstance], [ErrInvalidQuery], [ErrDuplicateID], [ErrLimit],
// [ErrUnavailable], [ErrClosed]. The first two are [*FieldError] values, which name the field and the value.
//
// # Testing
//
// discovery/static is a complete registry in memory. A back end of one's own is held to the
// contract by discoverytest.Run.
package discovery

import "context"

// Registry announces instances and follows the instances of a service.
//
// A registry that owns goroutines or files also implements [io.Closer]: its Close withdraws all
// of its registrations, closes every channel it returned from Watch and waits for its goroutines.
// Closing twice is harmless. Calls after Close return ErrClosed.
//
// A registry that can say where it looks also implements [Describer], one that can say which
// services have a tag [Finder].
type Registry interface {
	// Register announces in, after normalizing a copy of it, and returns once the registry has
	// accepted it. The instance stays announced until the Registration or the Registry is closed or
	// the process ends; ctx bounds this call only.
	//
	// Errors: ErrInvalidInstance, ErrDuplicateID when an instance with this ID is announced
	// already, ErrLimit, ErrClosed, ctx's error, and those of the back end.
	Register(ctx context.Context, in Instance) (Registration, error)

	// Watch follows the instances that q selects until ctx ends, and then closes the channel.
	// The channel holds one snapshot, the newest: an unread older one is replaced, so a slow
	// receiver delays nobody. A service nobody has announced yields an empty snapshot, not an
	// error. One last unread snapshot may still be received after ctx has ended.
	//
	// Errors: ErrInvalidQuery, ErrLimit, ErrClosed, ctx's error if it has already ended, and
	// those of the back end that waiting would not cure.
	Watch(ctx context.Context, q Query) (<-chan Snapshot, error)
}

// Registration is one announced instance.
type Registration interface {
	// Update replaces what is announced with in, as one step: watchers see the old or the new
	// state and never neither. ID, Service and Namespace must stay as they were registered;
	// otherwise the error is ErrInvalidInstance and nothing changes. Draining is an Update with
	// Status Draining. After Close the error is ErrClosed.
	Update(ctx context.Context, in Instance) error

	// Close withdraws the instance. It is idempotent, and the ID may be registered again after it.
	Close() error
}

// Describer is implemented by registries that can say in a few words where they look, for
// messages such as "no instances of orders in local registry /run/user/1000/link/3f0c…".
type Describer interface {
	Describe() string
}

// Query selects what a watch follows: one service in one namespace.
type Query struct {
	Service   string
	Namespace string // "" is DefaultNamespace
}

// Normalized returns q with its defaults filled in, so that equal queries compare equal.
func (q Query) Normalized() Query {
	if q.Namespace == "" {
		q.Namespace = DefaultNamespace
	}
	return q
}

// String returns namespace/service, with defaults filled in.
func (q Query) String() string {
	q = q.Normalized()
	return q.Namespace + "/" + q.Service
}
