package transport

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/notify"
)

// watcher ends calls whose context or deadline ends. Watching a context costs
// more than the rest of a short call, so calls begin unwatched and the watcher
// takes over those that last: a call that is canceled in its first moments returns
// up to two ticks late. Calls whose deadline is near are watched at once, see
// [lease.begin].
type watcher struct {
	// now counts the ticks.
	now atomic.Uint64
	// parked means that the goroutine waits on wake.
	parked atomic.Bool
	wake   notify.Flag
	// looked counts the leases looked at. Tests use it as the cost.
	looked atomic.Uint64

	mu sync.Mutex // guards fresh
	// fresh holds the sessions that were added since the last watchAll.
	fresh []*Session

	// sessions holds those with calls that are not watched yet. Only the goroutine uses it.
	sessions []*Session
}

// add tells the watcher that a session has a call in flight. It is not called again before
// all calls of the session are watched.
func (w *watcher) add(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fresh = append(w.fresh, s)
}

const (
	watchTick = 10 * time.Millisecond
	// watchNow is the time left below which a call is watched at once.
	watchNow = 5 * watchTick
	// parkAfter is the number of ticks without a young call after which the watcher sleeps.
	parkAfter = 20
)

func (w *watcher) rouse() {
	if w.parked.CompareAndSwap(true, false) {
		w.wake.Set()
	}
}

// watch runs the watcher of the endpoint until ctx ends.
func (e *Endpoint) watch(ctx context.Context) {
	w := &e.watcher
	timer := time.NewTimer(watchTick)
	timer.Stop()
	defer timer.Stop()
	for quiet := parkAfter; ; quiet++ {
		if quiet >= parkAfter {
			w.parked.Store(true)
			// This finds calls that began before they could see parked.
			if !w.watchAll() || !w.parked.CompareAndSwap(true, false) {
				select {
				case <-w.wake:
				case <-ctx.Done():
					return
				}
			}
			quiet = 0
		}
		timer.Reset(watchTick)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		w.now.Add(1)
		if w.watchAll() {
			quiet = 0
		}
	}
}

// watchAll begins to watch calls that have lasted, and reports whether there are any
// that are too young. Its cost grows with the calls in flight.
func (w *watcher) watchAll() (young bool) {
	w.mu.Lock()
	w.sessions = append(w.sessions, w.fresh...)
	clear(w.fresh)
	w.fresh = w.fresh[:0]
	w.mu.Unlock()
	now := w.now.Load()
	w.sessions = slices.DeleteFunc(w.sessions, func(s *Session) bool {
		busy := s.leases.inUse()
		w.looked.Add(uint64(len(busy)))
		one := false
		for _, l := range busy {
			one = l.watchOld(now) || one
		}
		young = young || one
		return !one && s.leases.unwatch()
	})
	return young
}
