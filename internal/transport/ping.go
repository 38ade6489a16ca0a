package transport

import (
	"context"
	"errors"
	"time"

	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/wire"
)

// ping is a PING whose answer a caller waits for.
type ping struct {
	token    uint64
	answered chan struct{}
}

// errPinging means that another Ping of the same session is in flight.
var errPinging = errors.New("a ping is in progress")

// Ping asks the peer for a sign of life and returns nil once it has answered: its process runs
// and takes packets, which says nothing about its handlers. Ping waits for at most
// Limits.Silence, and fails at once while another Ping of the session is in flight.
func (s *Session) Ping(ctx context.Context) error {
	p := &ping{token: uint64(clock.Now()) & wire.MaxVarint, answered: make(chan struct{})}
	if !s.vitals.pinged.CompareAndSwap(nil, p) {
		return errPinging
	}
	defer s.vitals.pinged.CompareAndSwap(p, nil)
	s.control.send(func(b []byte) []byte { return wire.AppendPing(b, wire.KindPing, p.token) })
	t := time.NewTimer(s.endpoint.limits.Silence)
	defer t.Stop()
	select {
	case <-p.answered:
		return nil
	case <-s.Done():
		return s.lost(nil, true)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return context.DeadlineExceeded
	}
}

// ponged notes the answer to a PING.
func (s *Session) ponged(token uint64) {
	s.vitals.pongAt.Store(clock.Now())
	if p := s.vitals.pinged.Load(); p != nil && p.token == token && s.vitals.pinged.CompareAndSwap(p, nil) {
		close(p.answered)
	}
}
