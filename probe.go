package link

import (
	"context"

	"github.com/linkmesh/link/internal/clock"
	"github.com/linkmesh/link/internal/transport"
)

// cares reports whether the call must not go to an instance that is likely not to answer, as a
// probe: it may not run twice, so nothing makes up for it there.
func (o *outgoing) cares() bool { return o.Route.Level == Unsafe && o.config.key == "" }

// ask asks an instance for a sign of life, in place of a call that must not be its probe. It waits for
// nothing. The balancer says when: seldom, and for one caller at a time.
func (s *service) ask(e *endpoint, class transport.Class) {
	peer := e.Value().peer
	session := peer.Live(class)
	if session == nil {
		_, _ = peer.Connect(class) // a connection says so by itself, and a failure leaves things as they are
		return
	}
	s.node.group.Go(func(ctx context.Context) {
		if session.Ping(ctx) == nil {
			e.Answers(clock.Now())
		}
	})
}
