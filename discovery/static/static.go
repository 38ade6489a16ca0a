// Package static is a discovery registry with a list of instances that the program provides.
//
// # Overview
//
// [New] takes the instances, [Registry.Set] replaces them while watchers follow, and [Parse]
// reads them from the text of the LINK_PEERS variable. Instances may also be registered. They
// are visible only to the watchers of the same Registry value, so a Registry can connect the nodes
// of one process, above all in tests.
//
// # Usage
//
//	peers, err := static.Parse(os.Getenv("LINK_PEERS"))
//	registry, err := static.New(peers...)
//
// # Guarantees
//
// Watchers see a change before the call that made it returns. Snapshots are never stale. Addresses are
// not checked: one that does not answer stays in the list.
//
// # Concurrency
//
// All methods are safe for concurrent use. A Registry starts no goroutine that outlives the end
// of a watch's context.
//
// # Errors
//
// Those of package discovery; [Parse] returns [discovery.ErrInvalidConfig].
//
// # Testing
//
// The registry works inside a testing/synctest bubble.
package static

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/internal/feed"
	"github.com/linkmesh/link/internal/bounds"
)

// Registry implements discovery.Registry, discovery.Finder, discovery.Describer and io.Closer in
// memory.
type Registry struct {
	feed  *feed.Feed
	names *feed.Names

	// mu guards the fields below. It is locked before the locks of feed and names.
	mu     sync.Mutex
	closed bool

	// listed holds the instances of New and Set, joined those of Register, both by ID.
	listed map[string]discovery.Instance
	joined map[string]discovery.Instance
}

// New returns a registry that lists instances. An instance with an empty ID gets a deterministic one
// made from its namespace, service and address. An instance without tags gets TagsUnknown. The errors
// are those of Set.
func New(instances ...discovery.Instance) (*Registry, error) {
	r := &Registry{
		feed:   feed.NewFrom("static", discovery.FromConfig),
		names:  feed.NewNames(),
		joined: make(map[string]discovery.Instance),
	}
	if err := r.Set(instances...); err != nil {
		return nil, err
	}
	return r, nil
}

// Set replaces all instances that New and Set have listed; registered ones stay. It copies the
// instances. On error nothing changes. The errors are ErrInvalidInstance, ErrDuplicateID, ErrLimit for
// more than 16,384 of one service, and ErrClosed.
func (r *Registry) Set(instances ...discovery.Instance) error {
	listed := make(map[string]discovery.Instance, len(instances))
	for i, in := range instances {
		if in.ID == "" {
			in.ID = stableID(in)
		}
		if err := in.Validate(); err != nil {
			return fmt.Errorf("static: instance %d: %w", i, err)
		}
		in.TagsUnknown = len(in.Tags) == 0
		in = in.Normalized()
		if other, ok := listed[in.ID]; ok {
			return fmt.Errorf("static: instance %d at %s: %w: %s at %s; give each its own ID",
				i, in.Addr, discovery.ErrDuplicateID, in.ID, other.Addr)
		}
		listed[in.ID] = in
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("static: set: %w", discovery.ErrClosed)
	}
	counts := make(map[discovery.Query]int)
	for id := range listed {
		if _, ok := r.joined[id]; ok {
			return fmt.Errorf("static: set: %w: %s", discovery.ErrDuplicateID, id)
		}
	}
	for _, set := range []map[string]discovery.Instance{listed, r.joined} {
		for _, in := range set {
			q := in.Query()
			if counts[q]++; counts[q] > bounds.MaxInstances {
				return fmt.Errorf("static: set: %w: more than %d instances of %s",
					discovery.ErrLimit, bounds.MaxInstances, q)
			}
		}
	}
	r.listed = listed
	r.publishAllLocked()
	return nil
}

// Watch implements discovery.Registry. It never blocks.
func (r *Registry) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	q = q.Normalized()
	// Hold the lock so that no change happens between the two calls.
	r.mu.Lock()
	defer r.mu.Unlock()
	ch, err := r.feed.Watch(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("static: %w", err)
	}
	r.feed.Publish(q, r.selectLocked(q))
	return ch, nil
}

// Describe implements discovery.Describer.
func (r *Registry) Describe() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("static registry (%d listed, %d registered)", len(r.listed), len(r.joined))
}

// Close removes all instances and closes the channels of all watches. It is idempotent and returns
// nil.
func (r *Registry) Close() error {
	r.mu.Lock()
	r.closed = true
	r.listed = nil
	clear(r.joined)
	r.mu.Unlock()
	r.feed.Close()
	r.names.Close()
	return nil
}

// publishLocked publishes the state of q, and the services of every watched tag.
func (r *Registry) publishLocked(q discovery.Query) {
	r.feed.Publish(q, r.selectLocked(q))
	r.publishNamesLocked()
}

func (r *Registry) publishAllLocked() {
	groups := make(map[discovery.Query][]discovery.Instance)
	for _, set := range []map[string]discovery.Instance{r.listed, r.joined} {
		for _, in := range set {
			groups[in.Query()] = append(groups[in.Query()], in)
		}
	}
	queries, _ := r.feed.Queries()
	for _, q := range queries {
		slices.SortFunc(groups[q], discovery.Instance.Compare)
		r.feed.Publish(q, groups[q])
	}
	r.publishNamesLocked()
}

func (r *Registry) selectLocked(q discovery.Query) []discovery.Instance {
	var found []discovery.Instance
	for _, set := range []map[string]discovery.Instance{r.listed, r.joined} {
		for _, in := range set {
			if in.Query() == q {
				found = append(found, in)
			}
		}
	}
	slices.SortFunc(found, discovery.Instance.Compare)
	return found
}
