// Package feed hands the newest snapshot of each watched service to its watchers.
//
// It is the half of the discovery contract that every back end shares: channels of size one that
// hold the newest state, a first snapshot as soon as there is one, no delivery without a change,
// and channels that close when their context or the feed ends.
package feed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/linkmesh/link/discovery"
)

// MaxWatches bounds the watches open at one time on one feed.
const MaxWatches = 10_000

// Feed is safe for concurrent use. It owns no goroutine of its own; the ones that the end of a
// context starts are waited for by Close.
type Feed struct {
	source string
	origin discovery.Origin
	ends   sync.WaitGroup // one for each open watch, until its end has been handled

	mu      sync.Mutex // guards the fields below
	closed  bool
	version uint64
	watches int
	topics  map[discovery.Query]*topic
}

// topic is one watched query; it lives while it has watches.
type topic struct {
	watches map[*watch]struct{}
	last    discovery.Snapshot
	known   bool // last has been published
}

type watch struct {
	ch   chan discovery.Snapshot
	stop func() bool // of context.AfterFunc
}

// New returns a feed whose snapshots carry source and discovery.FromNetwork.
func New(source string) *Feed { return NewFrom(source, discovery.FromNetwork) }

// NewFrom returns a feed whose snapshots carry source and origin.
func NewFrom(source string, origin discovery.Origin) *Feed {
	return &Feed{source: source, origin: origin, topics: make(map[discovery.Query]*topic)}
}

// Watch opens a watch of q, which sees the state known so far at once and otherwise waits for the
// next Publish. The errors are those of discovery.Registry.Watch.
func (f *Feed) Watch(ctx context.Context, q discovery.Query) (<-chan discovery.Snapshot, error) {
	q = q.Normalized()
	if err := q.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("discovery: watch %s: %w", q, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("watch %s: %w", q, discovery.ErrClosed)
	}
	if f.watches >= MaxWatches {
		return nil, fmt.Errorf("watch %s: %w: %d watches are open; end some", q, discovery.ErrLimit, f.watches)
	}
	t := f.topics[q]
	if t == nil {
		t = &topic{watches: make(map[*watch]struct{})}
		f.topics[q] = t
	}
	w := &watch{ch: make(chan discovery.Snapshot, 1)}
	t.watches[w] = struct{}{}
	f.watches++
	if t.known {
		w.offer(t.last)
	}
	f.ends.Add(1)
	w.stop = context.AfterFunc(ctx, func() {
		defer f.ends.Done()
		f.end(q, w)
	})
	return w.ch, nil
}

// offer replaces what the channel holds. All sends happen under the feed's lock, so the second
// send finds room: receivers can only make more of it.
func (w *watch) offer(s discovery.Snapshot) {
	select {
	case <-w.ch:
	default:
	}
	w.ch <- s
}

func (f *Feed) end(q discovery.Query, w *watch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.topics[q]
	if t == nil {
		return
	}
	if _, open := t.watches[w]; !open {
		return
	}
	delete(t.watches, w)
	if len(t.watches) == 0 {
		delete(f.topics, q)
	}
	f.watches--
	close(w.ch)
}

// Publish makes instances the state of q and tells the watchers if that changed anything. It
// takes over instances, which must be normalized and sorted by ID and never be modified again.
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

// Stale tells every watcher that has not heard it that its state may be out of date, and why. A
// watch that has no state yet learns that there is none to be had.
func (f *Feed) Stale(reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for q, t := range f.topics {
		f.staleLocked(q, t, reason)
	}
}

// StaleOne is Stale for the watchers of q.
func (f *Feed) StaleOne(q discovery.Query, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.topics[q]; t != nil {
		f.staleLocked(q, t, reason)
	}
}

func (f *Feed) staleLocked(q discovery.Query, t *topic, reason string) {
	if t.last.Stale {
		return
	}
	s := t.last
	s.Service, s.Namespace, s.Stale, s.Reason = q.Service, q.Namespace, true, reason
	f.deliverLocked(t, s)
}

// PublishStale makes instances the state of q as the registry showed it at a time past, for a
// back end that knows it from elsewhere. Instances are taken over as by Publish.
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

func (f *Feed) deliverLocked(t *topic, s discovery.Snapshot) {
	f.version++
	s.Version, s.Source, s.Origin = f.version, f.source, f.origin
	t.last, t.known = s, true
	for w := range t.watches {
		w.offer(s)
	}
}

// Queries returns the watched queries in no order, and whether one of them waits for its first
// state.
func (f *Feed) Queries() (queries []discovery.Query, waiting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.topics {
		waiting = waiting || !t.known
	}
	return slices.Collect(maps.Keys(f.topics)), waiting
}

// Close ends all watches and waits until nothing of them runs. It is idempotent.
func (f *Feed) Close() {
	f.mu.Lock()
	f.closed = true
	for _, t := range f.topics {
		for w := range t.watches {
			close(w.ch)
			if w.stop() {
				f.ends.Done()
			}
		}
	}
	clear(f.topics)
	f.watches = 0
	f.mu.Unlock()
	f.ends.Wait()
}
