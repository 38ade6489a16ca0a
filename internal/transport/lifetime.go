package transport

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/wire"
)

// lifetime is how long a session lasts.
type lifetime struct {
	// expires is when a certificate expires, retireAt when a dialed session is replaced. Zero is never.
	expires  time.Time
	retireAt time.Time
	// retired means that another session takes the new calls. A retired session closes with retireCode.
	retired atomic.Bool
	// over means that an operation found the connection ended. Its context may end a moment later.
	over       atomic.Bool
	retireCode atomic.Uint64
}

// retire makes new calls use a new connection. This one closes with code after its last call.
func (s *Session) retire(code wire.Code) {
	if s.life.retired.CompareAndSwap(false, true) {
		s.life.retireCode.Store(uint64(code))
		s.closeUnused()
	}
}

// janitor closes sessions and streams that are unused or have expired, once a second.
func (e *Endpoint) janitor(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var sessions []*Session
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			e.seconds.Add(1)
			unused := e.unusedSince()
			sessions = sessions[:0]
			e.known.mu.Lock()
			for s := range e.known.sessions {
				sessions = append(sessions, s)
			}
			e.known.mu.Unlock()
			e.gate.debts.sweep(now)
			e.callers.sweep(now)
			e.refusals.flush(now)
			e.shed.flush(now)
			for _, s := range sessions {
				switch {
				case s.dialed:
					s.tend(now)
				case !s.life.expires.IsZero() && now.After(s.life.expires):
					s.close(wire.CodeUnauthenticated, "a certificate has expired")
				default:
					s.serving.resting.expire(unused)
				}
			}
			clear(sessions)
		}
	}
}

// unusedSince returns a second. Call streams that have carried no call since then are closed.
func (e *Endpoint) unusedSince() int64 {
	return e.seconds.Load() - int64(math.Ceil(e.limits.Streams.Idle.Seconds()))
}

// tend looks after one dialed session, once a second.
func (s *Session) tend(now time.Time) {
	limits := &s.endpoint.limits
	s.leases.expire(now.Add(-limits.Streams.LeaseIdle))
	if !s.life.retireAt.IsZero() && now.After(s.life.retireAt) {
		s.retire(wire.CodeNone)
	}
	if !s.life.expires.IsZero() && now.After(s.life.expires) {
		s.close(wire.CodeUnauthenticated, "a certificate has expired")
	}
	switch at := clock.Of(now); {
	case s.usage.active.Load() > 0:
		// A long call or stream counts as use for as long as it lasts.
		s.usage.used.Store(at)
	case at-s.usage.used.Load() > int64(limits.SessionIdle):
		s.retire(wire.CodeIdle)
	}
	if s.life.retired.Load() {
		s.closeUnused()
	}
}
