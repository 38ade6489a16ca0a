package router

import (
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/clock"
)

// instanceState is what was learned about an instance.
type instanceState struct {
	// leaving is until when, in the time of package clock, the instance is not tried because it drains.
	leaving atomic.Int64
	trouble atomic.Pointer[trouble]
}

// trouble is why, and until when, an instance is not called.
type trouble struct {
	err   *Error
	until time.Time
	// ejected means that it is called again only once until has passed, whatever calls find out meanwhile.
	ejected bool
}

// left records that the instance announced that it drains.
func (in *instance) left() { in.state.leaving.Store(clock.Of(time.Now().Add(leaveTime))) }

// bar keeps calls away from an instance until the given time.
func (in *instance) bar(e *endpoint, until time.Time, why *Error) {
	in.state.trouble.Store(&trouble{err: why, until: until})
	e.Bar(clock.Of(until))
}

// eject keeps calls away from an instance for ejectTime. It reports false if the instance was ejected before and still is:
// every call that waited for the same dial finds out the same.
func (in *instance) eject(e *endpoint, why *Error) bool {
	now := time.Now()
	fresh := &trouble{err: why, until: now.Add(ejectTime), ejected: true}
	for {
		old := in.state.trouble.Load()
		if old != nil && old.ejected && now.Before(old.until) {
			e.Bar(clock.Of(old.until))
			return false
		}
		if in.state.trouble.CompareAndSwap(old, fresh) {
			e.Bar(clock.Of(fresh.until))
			return true
		}
	}
}
