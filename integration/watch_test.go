package integration

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
)

// watch reads the snapshots of one service and keeps them all.
type watch struct {
	t *testing.T

	mu   sync.Mutex // guards the fields below
	all  []discovery.Snapshot
	news chan struct{} // closed and replaced when all grows
}

// follow watches a service until the test ends.
func follow(t *testing.T, r discovery.Registry, name string) *watch {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	snapshots, err := r.Watch(ctx, discovery.Query{Service: name})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	w := &watch{t: t, news: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range snapshots {
			w.mu.Lock()
			w.all = append(w.all, s)
			close(w.news)
			w.news = make(chan struct{})
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// history returns the snapshots so far.
func (w *watch) history() []discovery.Snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// until waits until the newest snapshot is as wanted, and returns it.
func (w *watch) until(what string, want func(discovery.Snapshot) bool) discovery.Snapshot {
	w.t.Helper()
	return w.untilWithin(within, what, want)
}

func (w *watch) untilWithin(limit time.Duration, what string, want func(discovery.Snapshot) bool) discovery.Snapshot {
	w.t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		w.mu.Lock()
		var last discovery.Snapshot
		if len(w.all) > 0 {
			last = w.all[len(w.all)-1]
		}
		news := w.news
		w.mu.Unlock()
		if !last.At.IsZero() || last.Stale {
			if want(last) {
				return last
			}
		}
		select {
		case <-news:
		case <-timer.C:
			w.t.Fatalf("no snapshot with %s within %v; the last: %+v", what, limit, last)
		}
	}
}

// untilIDs waits for exactly these instances, from a registry that can be read.
func (w *watch) untilIDs(want ...string) discovery.Snapshot {
	w.t.Helper()
	slices.Sort(want)
	return w.until("exactly the instances "+strings.Join(want, ", "), func(s discovery.Snapshot) bool {
		return !s.Stale && same(s.Instances, want...)
	})
}

// neverBelow fails the test if a snapshot after the first that had n instances had fewer.
func (w *watch) neverBelow(n int) {
	w.t.Helper()
	full := false
	for i, s := range w.history() {
		full = full || len(s.Instances) >= n
		if full && len(s.Instances) < n {
			w.t.Errorf("snapshot %d lost instances: %+v", i, s)
		}
	}
	if !full {
		w.t.Errorf("no snapshot had %d instances", n)
	}
}
