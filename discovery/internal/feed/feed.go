// Package feed delivers the newest state to watchers: a [Feed] delivers snapshots of services, a
// [Names] delivers the names of services that have a tag.
//
// It implements the part of the discovery contract that all back ends share: channels of size one
// that hold the newest state, a first snapshot as soon as there is one, no delivery without a change,
// and channels that close when their context or the feed ends.
package feed

import (
	"context"
	"slices"
	"time"

	"github.com/linkmesh/link/discovery"
)

// MaxWatches is the maximum number of open watches of one Feed or Names.
const MaxWatches = 10_000

// Feed delivers the newest snapshot of each watched service to its watchers. It is safe for
// concurrent use.
type Feed struct {
	hub[discovery.Query, discovery.Snapshot]
	source  string
	origin  discovery.Origin
	version uint64 // guarded by hub.mu
}

// New returns a feed whose snapshots carry source and discovery.FromNetwork.
func New(source string) *Feed { return NewFrom(source, discovery.FromNetwork) }

// NewFrom returns a feed whose snapshots carry source and origin.
func NewFrom(source string, origin discovery.Origin) *Feed {
	return &Feed{
		hub:    hub[discovery.Query, discovery.Snapshot]{topics: make(map[discovery.Query]*topic[discovery.Snapshot])},
		source: source, origin: origin,
	}
}

// Watch opens a watch of q, which gets the known state at once or, if there is none yet, waits for
// the next Publish. The errors are those of discovery.Registry.Watch.
func (f *Feed) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	return f.watch(ctx, q.Normalized())
}

// Publish makes instances the state of q and notifies the watchers if that changed anything. It
// takes ownership of instances, which must be normalized and sorted by ID.
func (f *Feed) Publish(q discovery.Query, instances []discovery.Instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.topics[q]
	if t == nil {
		return
	}
	if t.known && !t.last.Stale && slices.EqualFunc(t.last.Instances, instances, discovery.Instance.Equal) {
		return
	}
	f.deliverLocked(t, discovery.Snapshot{
		Service:   q.Service,
		Namespace: q.Namespace,
		Instances: instances,
		At:        time.Now(),
	})
}

// Stale marks every state that is not stale yet as stale, and tells its watchers why. A watch that
// has no state yet gets an empty stale snapshot.
func (f *Feed) Stale(reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for q, t := range f.topics {
		f.staleLocked(q, t, reason)
	}
}

// StaleOne is like Stale, for the watchers of q only.
func (f *Feed) StaleOne(q discovery.Query, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.topics[q]; t != nil {
		f.staleLocked(q, t, reason)
	}
}

func (f *Feed) staleLocked(q discovery.Query, t *topic[discovery.Snapshot], reason string) {
	if t.last.Stale {
		return
	}
	s := t.last
	s.Service, s.Namespace, s.Stale, s.Reason = q.Service, q.Namespace, true, reason
	f.deliverLocked(t, s)
}

// PublishStale makes instances the stale state of q, which the registry had at the time at. It is
// for back ends that keep old states. Like Publish, it takes ownership of instances.
func (f *Feed) PublishStale(q discovery.Query, instances []discovery.Instance, at time.Time, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.topics[q]
	if t == nil {
		return
	}
	if t.last.Stale && t.last.Reason == reason && slices.EqualFunc(t.last.Instances, instances, discovery.Instance.Equal) {
		return
	}
	f.deliverLocked(t, discovery.Snapshot{
		Service: q.Service, Namespace: q.Namespace, Instances: instances, At: at, Stale: true, Reason: reason,
	})
}

func (f *Feed) deliverLocked(t *topic[discovery.Snapshot], s discovery.Snapshot) {
	f.version++
	s.Version, s.Source, s.Origin = f.version, f.source, f.origin
	t.deliver(s)
}
