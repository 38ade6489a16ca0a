package transport

import (
	"context"
	"math"
	"sync/atomic"

	"github.com/quic-go/quic-go"
)

// owner tells the session of a connection from within quic-go. It is a value of the
// connection's context.
type owner struct{ session atomic.Pointer[Session] }

type ownerKey struct{}

func withOwner(ctx context.Context) context.Context {
	return context.WithValue(ctx, ownerKey{}, &owner{})
}

// mayGrow lets a connection have more bytes in flight to us if the peer's share of
// all connections' allows it: what has arrived out of order, or on streams that
// wait, is held in memory up to the window.
func (e *Endpoint) mayGrow(conn *quic.Conn, delta uint64) bool {
	o, ok := conn.Context().Value(ownerKey{}).(*owner)
	if !ok {
		return false
	}
	s := o.session.Load()
	if s == nil || s.shares.windows.Take(int64(delta)) != nil {
		return false
	}
	if s.window.Add(int64(delta)) < 0 { // the session has ended
		s.shares.windows.Give(int64(delta))
		return false
	}
	return true
}

// disown ends what the session has of its peer's shares: its window may have grown as
// soon as it was identified.
func (s *Session) disown() {
	const ended = math.MinInt64 / 2
	s.shares.windows.Give(s.window.Swap(ended))
	s.dropCredit()
	s.endpoint.callers.leave(s.caller)
	s.shares.release()
}
