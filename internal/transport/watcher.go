package transport

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/notify"
	"github.com/linkmesh/link/internal/wire"
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

// watch is how the call on a lease is watched, see [watcher].
type watch struct {
	// phase holds one of the phases below, and above it the tick of the watcher when the
	// call began. Whoever moves it from phaseYoung owns ctx and deadline: the call, which
	// ends, or whoever begins to watch the call, under mu.
	phase  atomic.Uint64
	ending atomic.Uint32 // endNone, endCanceled, endDeadline or endMoved

	ctx      context.Context //nolint:containedctx // the context of the call under way
	deadline time.Time
	mover    Mover

	mu      sync.Mutex // guards the fields below
	moved   bool       // the call was told to go elsewhere
	unwatch func() bool
	// timer ends the call at its deadline. It is reused.
	timer *time.Timer
	timed bool
}

// The phases of a lease.
const (
	phaseIdle    uint64 = iota // a call may begin
	phaseYoung                 // a call is in flight and not watched yet
	phaseWatched               // a call is in flight; its context and deadline are watched
	phaseDone                  // the call is over; its reply may be held
	phaseMask    = 3
	phaseBits    = 2
)

// How a call was ended from our side.
const (
	endNone uint32 = iota
	endCanceled
	endDeadline
	endMoved
)

// begin puts a call on the lease.
func (l *lease) begin(ctx context.Context, now, deadline time.Time, mover Mover) {
	l.ctx, l.deadline, l.mover = ctx, deadline, mover
	if deadline.Sub(now) < watchNow {
		l.mu.Lock()
		l.watchLocked()
		l.mu.Unlock()
		return
	}
	w := &l.session.endpoint.watcher
	l.phase.Store(w.now.Load()<<phaseBits | phaseYoung)
	if w.parked.Load() {
		w.rouse()
	}
}

// finish takes the call off the lease. It reports whether nothing has tried to stop it.
func (l *lease) finish() bool {
	untouched := true
	if v := l.phase.Load(); v&phaseMask != phaseYoung || !l.phase.CompareAndSwap(v, phaseDone) {
		l.mu.Lock()
		untouched = l.unwatch == nil || l.unwatch()
		if l.timed && !l.timer.Stop() || l.moved {
			untouched = false
		}
		l.unwatch, l.moved = nil, false
		l.phase.Store(phaseDone)
		l.mu.Unlock()
	}
	l.ctx, l.mover = nil, nil
	return untouched
}

// watchOld begins to watch the call if it has lasted for a tick. It reports whether
// the call is too young for that, or about to begin.
func (l *lease) watchOld(now uint64) bool {
	v := l.phase.Load()
	if v&phaseMask != phaseYoung {
		return v&phaseMask == phaseIdle
	}
	if now < v>>phaseBits+2 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase.CompareAndSwap(v, phaseWatched) {
		l.watchLocked()
		l.session.vitals.fresh.Store(true)
		l.session.alert()
	}
	return false
}

func (l *lease) watchLocked() {
	l.phase.Store(phaseWatched)
	if l.ctx.Done() != nil {
		l.unwatch = context.AfterFunc(l.ctx, func() { l.stop(endCanceled, wire.CodeCanceled) })
	}
	d, ok := l.ctx.Deadline()
	if l.timed = !ok || l.deadline.Before(d); !l.timed {
		return
	}
	left := time.Until(l.deadline)
	if l.timer == nil {
		l.timer = time.AfterFunc(left, func() { l.stop(endDeadline, wire.CodeDeadline) })
		return
	}
	l.timer.Reset(left)
}

// stop resets the stream, which wakes the reader of the reply.
func (l *lease) stop(why uint32, code wire.Code) {
	if l.ending.CompareAndSwap(endNone, why) {
		l.stream.CancelRead(code)
		l.stream.CancelWrite(code)
	}
}
