package discoverytest

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/place"
)

// kit is a Backend with its defaults filled in.
type kit struct{ Backend }

// registry opens a registry and closes it when the subtest ends.
func (k *kit) registry(t *testing.T) discovery.Registry {
	t.Helper()
	r := k.Open(t)
	closeAfter(t, r)
	return r
}

// pair opens two registries with one store.
func (k *kit) pair(t *testing.T) (a, b discovery.Registry) {
	t.Helper()
	a, b = k.OpenShared(t)
	closeAfter(t, a)
	closeAfter(t, b)
	return a, b
}

func closeAfter(t *testing.T, r discovery.Registry) {
	t.Helper()
	if c, ok := r.(io.Closer); ok {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Errorf("closing the registry: %v", err)
			}
		})
	}
}

// newName returns a unique name of a service or namespace.
func newName(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()) }

// instance returns a valid instance of service with a new ID.
func instance(service string) discovery.Instance {
	return discovery.Instance{
		ID:      discovery.NewInstanceID(service),
		Service: service,
		Addr:    "192.0.2.10:7443",
	}
}

// register announces in and closes the registration when the subtest ends.
func register(t *testing.T, r discovery.Registry, in discovery.Instance) discovery.Registration {
	t.Helper()
	g, err := r.Register(t.Context(), in)
	if err != nil {
		t.Fatalf("Register %s: %v", in.ID, err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("closing registration %s: %v", in.ID, err)
		}
	})
	return g
}

func update(t *testing.T, g discovery.Registration, in discovery.Instance) {
	t.Helper()
	if err := g.Update(t.Context(), in); err != nil {
		t.Fatalf("Update %s: %v", in.ID, err)
	}
}

func closeNow(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

// watcher reads the snapshots of one watch and checks each of them.
type watcher struct {
	k      *kit
	q      discovery.Query
	ch     <-chan discovery.Snapshot
	cancel context.CancelFunc
	last   discovery.Snapshot
}

func (k *kit) watch(t *testing.T, r discovery.Registry, q discovery.Query) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ch, err := r.Watch(ctx, q)
	if err != nil {
		t.Fatalf("Watch %s: %v", q, err)
	}
	return &watcher{k: k, q: q.Normalized(), ch: ch, cancel: cancel}
}

func (k *kit) watchService(t *testing.T, r discovery.Registry, service string) *watcher {
	t.Helper()
	return k.watch(t, r, discovery.Query{Service: service})
}

// next returns the next snapshot.
func (w *watcher) next(t *testing.T) discovery.Snapshot {
	t.Helper()
	timer := time.NewTimer(w.k.Patience)
	defer timer.Stop()
	select {
	case s, ok := <-w.ch:
		if !ok {
			t.Fatalf("watch of %s: the channel closed although nobody ended the watch", w.q)
		}
		w.check(t, s)
		w.last = s
		return s
	case <-timer.C:
		t.Fatalf("watch of %s: nothing within %v; the last snapshot was %+v", w.q, w.k.Patience, w.last)
		return discovery.Snapshot{}
	}
}

// until reads until want returns true for a snapshot, and returns that snapshot.
func (w *watcher) until(t *testing.T, what string, want func(discovery.Snapshot) bool) discovery.Snapshot {
	t.Helper()
	timer := time.NewTimer(w.k.Patience)
	defer timer.Stop()
	for {
		select {
		case s, ok := <-w.ch:
			if !ok {
				t.Fatalf("watch of %s: the channel closed while waiting for %s", w.q, what)
			}
			w.check(t, s)
			w.last = s
			if want(s) {
				return s
			}
		case <-timer.C:
			t.Fatalf("watch of %s: no %s within %v; the last snapshot was %+v", w.q, what, w.k.Patience, w.last)
		}
	}
}

// untilIDs reads until a snapshot holds exactly these instances.
func (w *watcher) untilIDs(t *testing.T, want ...string) discovery.Snapshot {
	t.Helper()
	slices.Sort(want)
	return w.until(t, "snapshot of exactly "+strings.Join(want, ", "), func(s discovery.Snapshot) bool {
		return slices.Equal(ids(s), want)
	})
}

// untilClosed reads until the channel is closed.
func (w *watcher) untilClosed(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(w.k.Patience)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-w.ch:
			if !ok {
				return
			}
		case <-timer.C:
			t.Fatalf("watch of %s: the channel is not closed within %v", w.q, w.k.Patience)
		}
	}
}

// check checks the rules for every snapshot of a healthy registry.
func (w *watcher) check(t *testing.T, s discovery.Snapshot) {
	t.Helper()
	switch {
	case s.Service != w.q.Service || s.Namespace != w.q.Namespace:
		t.Fatalf("watch of %s: snapshot of %s/%s", w.q, s.Namespace, s.Service)
	case s.Version <= w.last.Version:
		t.Fatalf("watch of %s: version %d after %d", w.q, s.Version, w.last.Version)
	case s.Source == "":
		t.Fatalf("watch of %s: snapshot without Source", w.q)
	case s.At.IsZero():
		t.Fatalf("watch of %s: snapshot without At", w.q)
	case s.Stale:
		t.Fatalf("watch of %s: stale snapshot of a healthy registry", w.q)
	case !slices.IsSorted(ids(s)):
		t.Fatalf("watch of %s: not sorted by ID: %q", w.q, ids(s))
	}
	for _, in := range s.Instances {
		if in.Query() != w.q {
			t.Fatalf("watch of %s: instance %s of %s", w.q, in.ID, in.Query())
		}
		if !in.Equal(in.Normalized()) {
			t.Fatalf("watch of %s: instance %s is not normalized: %+v", w.q, in.ID, in)
		}
	}
}

// eventually polls until holds returns true, for state that sends no events.
func (k *kit) eventually(t *testing.T, holds func() bool, failure func() string) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for start := time.Now(); !holds(); <-ticker.C {
		if time.Since(start) > k.Patience {
			t.Fatal(failure())
		}
		runtime.Gosched()
	}
}

func ids(s discovery.Snapshot) []string {
	all := make([]string, 0, len(s.Instances))
	for _, in := range s.Instances {
		all = append(all, in.ID)
	}
	return all
}

// copyOf returns a deep copy of the instances of s.
func copyOf(s discovery.Snapshot) []discovery.Instance {
	all := make([]discovery.Instance, 0, len(s.Instances))
	for _, in := range s.Instances {
		all = append(all, in.Normalized())
	}
	return all
}

// refused checks that err wraps want.
func refused(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// same reports whether got equals the registered instance want. A registry that knows the datacenter
// may have added it to Meta.
func same(got, want discovery.Instance) bool {
	if _, ok := want.Meta[place.Datacenter]; !ok {
		got.Meta = maps.Clone(got.Meta)
		delete(got.Meta, place.Datacenter)
		got = got.Normalized()
	}
	return got.Equal(want)
}
