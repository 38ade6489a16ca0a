// Package discovery lets the instances of a service announce themselves and lets others find them.
//
// # Overview
//
// A [Registry] has two methods. Register announces one [Instance] and returns a [Registration],
// which updates, drains and withdraws it. Watch follows the instances of one service as full
// snapshots: a receiver never applies deltas, and a slow receiver sees only the newest state. A
// registry may also implement optional interfaces: [Finder] reports which services have an instance
// with a tag, [Lister] lists the services, and [PolicyWatcher] follows routing policies.
//
// Back ends are separate packages: discovery/local (files on one host, no server),
// discovery/static (a fixed or manually updated list) and discovery/consul. Each of them passes the
// contract tests in discovery/discoverytest.
//
// Data from a registry is a hint, never proof: tags, addresses and even the service name are
// whatever the announcing side wrote. Only mutual TLS proves who answers at an address.
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
// The lists of a [Finder] are sorted by name and are never modified once sent either.
//
// # Concurrency
//
// Registry and Registration values are safe for concurrent use.
//
// # Errors
//
// Test with errors.Is: [ErrInvalidInstance], [ErrInvalidQuery], [ErrDuplicateID], [ErrLimit],
// [ErrUnavailable], [ErrClosed], and [ErrInvalidConfig] where a back end is made. The first two are
// [*FieldError] values, which name the field and the value.
//
// # Testing
//
// discovery/static is a complete in-memory registry. discoverytest.Run tests any back end against
// the contract.
package discovery

import "context"

// Registry announces instances and follows the instances of a service.
//
// A registry that owns goroutines or files also implements [io.Closer]: its Close withdraws all
// of its registrations, closes every channel it returned from Watch and waits for its goroutines.
// Closing twice is harmless. Calls after Close return ErrClosed.
//
// A registry that can describe where it looks also implements [Describer]. A registry that can find
// services by tag also implements [Finder].
type Registry interface {
	// Register announces in, after normalizing a copy of it, and returns once the registry has
	// accepted it. The instance stays announced until the Registration or the Registry is closed or
	// the process ends; ctx bounds this call only.
	//
	// Errors: ErrInvalidInstance, ErrDuplicateID when an instance with this ID is already
	// announced, ErrLimit, ErrClosed, ctx's error, and errors of the back end.
	Register(ctx context.Context, in Instance) (Registration, error)

	// Watch follows the instances that q selects until ctx ends, and then closes the channel.
	// The channel holds only the newest snapshot: it replaces an older one that was not received,
	// so a slow receiver does not delay others. A service that nobody has announced yields an empty
	// snapshot, not an error. One last unread snapshot may still be received after ctx has ended.
	//
	// Errors: ErrInvalidQuery, ErrLimit, ErrClosed, ctx's error if it has already ended, and
	// permanent errors of the back end.
	Watch(ctx context.Context, q Query) (<-chan Snapshot, error)
}

// Registration is one announced instance.
type Registration interface {
	// Update atomically replaces the announced instance with in: watchers always see either the old
	// or the new state. ID, Service and Namespace must stay as they were registered; otherwise the
	// error is ErrInvalidInstance and nothing changes. To drain, update with Status Draining. After
	// Close the error is ErrClosed.
	Update(ctx context.Context, in Instance) error

	// Close withdraws the instance. It is idempotent. The ID may be registered again afterwards.
	Close() error
}

// Describer is implemented by registries that can briefly describe where they look, for
// messages such as "no instances of orders in local registry /run/user/1000/link/3f0c…".
type Describer interface {
	Describe() string
}

// Query selects what a watch follows: one service in one namespace. An empty Namespace is
// DefaultNamespace.
type Query struct {
	Service   string
	Namespace string
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
