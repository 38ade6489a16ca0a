package serve

import (
	"context"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
)

// Attach runs the session of a subscription of the hub's own node, whose records go to out, until
// ctx ends. The node may subscribe to its own topics whatever the rules for its peers are.
//
// If the subscription is accepted, Attach calls begin with the answer, and with say, which takes
// verdicts from one goroutine at a time. Before Attach returns, it calls the function that begin
// has returned, which must end what waits in out, and after which say is not called any more.
func (h *Hub) Attach(ctx context.Context, ask *frame.Subscribe, out frame.Sink,
	begin func(answer *frame.Subscribed, say func(v *frame.Verdict) error) (end func()),
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, answer, err := h.open(out, ask, h.self())
	if err != nil {
		return err
	}
	h.join(s)
	defer h.leave(s)
	defer func() { s.finish(err) }()
	end := begin(&answer, s.apply)
	defer func() {
		cancel()
		end()
		s.workers.Wait()
	}()
	err = s.run(ctx, func() error {
		<-ctx.Done()
		return errUnsubscribed
	})
	return err
}

// self returns the hub's own node as a peer.
func (h *Hub) self() link.Peer {
	return link.Peer{Identity: h.node.Identity(), Instance: h.node.Instance(), Addr: h.node.Addr()}
}
