package receive

import (
	"context"

	"github.com/linkmesh/link/protocol/internal/flow"
	"github.com/linkmesh/link/protocol/pubsub/internal/frame"
)

// ownSink is the sink of a subscription on the publisher's own node. Its records do not
// pass through a socket.
type ownSink struct {
	ctx  context.Context //nolint:containedctx // the subscription's; its end ends the sink
	in   intake
	conn *Conn
}

// Send implements frame.Sink.
func (s *ownSink) Send(_ context.Context, body []byte, _ func()) error {
	for !s.conn.takes(len(body)) {
		select {
		case <-s.conn.shrunk:
		case <-s.ctx.Done():
			return context.Cause(s.ctx) //nolint:contextcheck // the sink's own
		}
	}
	s.in.put(&frames{conn: s.conn, body: append([]byte(nil), body...), owed: len(body)})
	return nil
}

// Note implements frame.Sink.
func (s *ownSink) Note(body []byte) error {
	s.in.note(&frames{conn: s.conn, body: append([]byte(nil), body...)})
	return nil
}

// Topics implements frame.Sink.
func (s *ownSink) Topics(say *frame.Published) error {
	s.in.published(say)
	return nil
}

// Last implements frame.Sink. It is never called, because this sink never drains.
func (s *ownSink) Last([]byte) error { return nil }

// Size implements frame.Sink.
func (s *ownSink) Size() int { return flow.MaxFrame }

// Draining implements frame.Sink. A node's own subscriptions are served to the end.
func (s *ownSink) Draining() <-chan struct{} { return nil }

// Ended implements frame.Sink.
func (s *ownSink) Ended() <-chan struct{} { return s.ctx.Done() }

// listenHere receives from the publisher of the subscription's own node, without a stream.
func (b *Inbox) listenHere(p Publisher, to intake) error {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	sink := &ownSink{ctx: ctx, in: to}
	return p.Attach(ctx, to.ask, sink, func(answer *frame.Subscribed, say func(v *frame.Verdict) error) (end func()) {
		node := b.conf.Node
		c := &Conn{cut: cancel, full: flow.Frames, grants: flow.Credit{Stream: noLender{}}}
		c.Peer.Identity, c.Peer.Instance, c.Peer.Addr = node.Identity(), node.Instance(), node.Addr()
		sink.conn = to.joined(c, answer)
		judged := to.judging(ctx, sink.conn, say)
		return func() {
			cancel()
			judged()
			to.member.lastWords(say, b.forgets.Load())
		}
	})
}
