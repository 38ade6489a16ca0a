package transport

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// watcher ends calls whose context or deadline ends. Watching a context costs
// more than the rest of a short call, so calls begin unwatched and the watcher
// takes over those that last: one that is canceled in its first moments returns
// up to two ticks later. Calls whose deadline is near are watched at once, see
// [lease.begin].
type watcher struct {
	now    atomic.Uint64 // ticks so far
	parked atomic.Bool   // the goroutine waits on wake
	wake   chan struct{}
	looked atomic.Uint64 // at how many leases; its cost, for tests

	mu    sync.Mutex // guards fresh
	fresh []*Session // have calls under way since watchAll looked

	sessions []*Session // with calls that are not watched yet; the goroutine's alone
}

// add tells the watcher of a session that has a call under way. It is not told again
// until the session has none but watched ones.
func (w *watcher) add(s *Session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fresh = append(w.fresh, s)
}

const (
	watchTick = 10 * time.Millisecond
	// watchNow is the time left below which a call is watched at once.
	watchNow = 5 * watchTick
	// parkAfter is after how many ticks without a young call the watcher sleeps.
	parkAfter = 20
)

func (w *watcher) rouse() {
	if w.parked.CompareAndSwap(true, false) {
		w.wake <- struct{}{} // holds one, and only who unparks sends
	}
}

// watch is the goroutine of the endpoint.
func (e *Endpoint) watch(ctx context.Context) {
	w := &e.watcher
	timer := time.NewTimer(watchTick)
	timer.Stop()
	defer timer.Stop()
	for quiet := parkAfter; ; quiet++ {
		if quiet >= parkAfter {
			w.parked.Store(true)
			// A call that began before it could see that we sleep is found here.
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

// watchAll takes over calls that have lasted and reports whether there are any
// that are too young. Its cost follows the calls under way.
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
