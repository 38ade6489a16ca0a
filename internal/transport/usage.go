package transport

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/wire"
)

// usage counts what is under way on a session.
type usage struct {
	active  atomic.Int64 // calls and streams in flight
	streams atomic.Int64 // streams of patterns among these
	window  atomic.Int64 // bytes that the connection's window has grown by
	credit  atomic.Int64 // bytes of credit that our streams have granted
	used    atomic.Int64 // when it was last used, on the scale of package clock
}

// touch notes that the session is in use. The janitor looks at seconds, so most calls need not write.
func (s *Session) touch(now time.Time) {
	if n := clock.Of(now); n-s.usage.used.Load() > int64(touchEvery) {
		s.usage.used.Store(n)
	}
}

const touchEvery = 10 * time.Millisecond

// taken is the value of active of a session that is being closed.
const taken = math.MinInt64 / 2

// acquire counts a call or stream in active; release must follow, even after an error. The error says
// that the session takes no more. A draining or retired session is closed by the goroutine that moves
// active from 0 to taken, so it never closes under a call that has begun.
func (s *Session) acquire() error {
	running := s.usage.active.Add(1)
	switch {
	case running < 0:
		return &Error{Reason: ReasonLost, Peer: s.remoteAddr, NotProcessed: true, Detail: "it is no longer used"}
	case s.isDraining():
		return s.leaving()
	case s.life.retired.Load():
		return &Error{Reason: ReasonLost, Peer: s.remoteAddr, NotProcessed: true, Detail: "replaced by another connection"}
	}
	return nil
}

// release ends a call or stream that was counted in active. The last one on a session whose peer drains
// closes the session, so that the peer need not wait. A session that is retired for another reason is
// closed by tend: its last frames, such as a reset, have left by then, and nobody waits.
func (s *Session) release() {
	if s.usage.active.Add(-1) == 0 && s.dialed && s.isDraining() {
		s.closeUnused()
	}
}

// closeUnused closes a session on which nothing is under way.
func (s *Session) closeUnused() {
	if s.usage.active.CompareAndSwap(0, taken) {
		s.close(wire.Code(s.life.retireCode.Load()), "no longer used")
	}
}
