package transport

import (
	"context"
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
	var sessions []*Session
	for quiet := parkAfter; ; quiet++ {
		if quiet >= parkAfter {
			w.parked.Store(true)
			// A call that began before it could see that we sleep is found here.
			if young, _ := e.watchAll(sessions[:0]); !young || !w.parked.CompareAndSwap(true, false) {
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
		var young bool
		if young, sessions = e.watchAll(sessions[:0]); young {
			quiet = 0
		}
	}
}

// watchAll takes over calls that have lasted and reports whether there are any
// that are too young.
func (e *Endpoint) watchAll(sessions []*Session) (bool, []*Session) {
	e.mu.Lock()
	for s := range e.sessions {
		if s.dialed && s.active.Load() > 0 {
			sessions = append(sessions, s)
		}
	}
	e.mu.Unlock()
	young := false
	now := e.watcher.now.Load()
	for _, s := range sessions {
		for _, l := range s.leases.busy() {
			young = l.watchOld(now) || young
		}
	}
	return young, sessions
}
