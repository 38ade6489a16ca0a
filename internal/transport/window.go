package transport

import (
	"context"
	"math"
	"sync/atomic"
)

// owner leads from a connection to its session in callbacks of the carrier. It is a value of the
// connection's context.
type owner struct{ session atomic.Pointer[Session] }

type ownerKey struct{}

func withOwner(ctx context.Context) context.Context {
	return context.WithValue(ctx, ownerKey{}, &owner{})
}

// mayGrow reports whether the connection with this context may have delta more bytes in flight
// to us, which count in the peer's share of Limits.WindowBytes: bytes that arrived out of order,
// or on streams that wait, are held in memory up to the window.
func (e *Endpoint) mayGrow(ctx context.Context, delta uint64) bool {
	o, ok := ctx.Value(ownerKey{}).(*owner)
	if !ok {
		return false
	}
	s := o.session.Load()
	if s == nil || s.shares.windows.Take(int64(delta)) != nil {
		return false
	}
	// disown has made window negative if the session has ended.
	if s.usage.window.Add(int64(delta)) < 0 {
		s.shares.windows.Give(int64(delta))
		return false
	}
	return true
}

// disown gives back what the session has of its peer's shares. Its window may have grown
// since it was identified.
func (s *Session) disown() {
	const ended = math.MinInt64 / 2
	s.shares.windows.Give(s.usage.window.Swap(ended))
	s.dropCredit()
	s.endpoint.callers.leave(s.caller)
	s.shares.release()
}
