package router

import (
	"context"

	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/transport"
)

// ask asks an instance for a sign of life, in place of a call that must not be its probe. It does
// not block. The balancer decides when: rarely, and for one caller at a time.
func (s *Service) ask(e *endpoint, class transport.Class) {
	peer := e.Value().peer
	session := peer.Live(class)
	if session == nil {
		// A new connection is a sign of life, and a failed dial changes nothing.
		_, _ = peer.Connect(class)
		return
	}
	s.router.cfg.Group.Go(func(ctx context.Context) {
		if session.Ping(ctx) == nil {
			e.Answers(clock.Now())
		}
	})
}
