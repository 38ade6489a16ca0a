package link

import (
	"context"

	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/transport"
)

// cares reports whether the call must not be a probe of an instance that is unlikely to answer:
// the call must not run twice, so it could not be retried.
func (o *outgoing) cares() bool { return o.Route.Level == Unsafe && o.config.key == "" }

// ask asks an instance for a sign of life, in place of a call that must not be its probe. It does
// not block. The balancer decides when: rarely, and for one caller at a time.
func (s *service) ask(e *endpoint, class transport.Class) {
	peer := e.Value().peer
	session := peer.Live(class)
	if session == nil {
		// A new connection is a sign of life, and a failed dial changes nothing.
		_, _ = peer.Connect(class)
		return
	}
	s.node.group.Go(func(ctx context.Context) {
		if session.Ping(ctx) == nil {
			e.Answers(clock.Now())
		}
	})
}
