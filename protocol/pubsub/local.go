package pubsub

import (
	"context"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/internal/lane"
)

// localSink is the sink of a subscription on the publisher's own node. Its records do not
// pass through a socket.
type localSink struct {
	ctx  context.Context //nolint:containedctx // the subscription's; its end ends the sink
	in   intake
	conn *conn
}

func (s localSink) send(_ context.Context, body []byte, _ func()) error {
	return s.in.take(s.ctx, &frames{conn: s.conn, body: append([]byte(nil), body...), owed: len(body)}, nil) //nolint:contextcheck // the sink's own
}

func (s localSink) note(body []byte) error {
	s.in.note(&frames{conn: s.conn, body: append([]byte(nil), body...)})
	return nil
}

func (s localSink) topics(say *published) error {
	s.in.published(say)
	return nil
}

// last is never called, because this sink never drains.
func (s localSink) last([]byte) error { return nil }

func (s localSink) size() int { return lane.MaxFrame }

// draining returns nil: a node's own subscriptions are served to the end.
func (s localSink) draining() <-chan struct{} { return nil }
func (s localSink) ended() <-chan struct{}    { return s.ctx.Done() }

// attendLocally runs one session with the publisher of this node until it ends. A node
// may subscribe to its own topics whatever the rules for its peers are.
func (h *hub) attendLocally(ctx context.Context, ask *subscribe, in intake) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	peer := link.Peer{Identity: h.node.Identity(), Instance: h.node.Instance(), Addr: h.node.Addr()}
	sink := &localSink{ctx: ctx}
	s, answer, err := h.open(sink, ask, peer)
	if err != nil {
		return err
	}
	h.join(s)
	defer h.leave(s)
	defer func() { s.finish(err) }()
	c := in.joined(&conn{peer: peer, cut: cancel, flow: lane.Flow{Stream: noLender{}}}, &answer)
	sink.in, sink.conn = in, c
	judged := in.judging(ctx, c, s.apply)
	defer func() { cancel(); judged(); in.member.lastWords(s.apply, in.box.forgets.Load()); s.workers.Wait() }()
	err = s.run(ctx, func() error { <-ctx.Done(); return errUnsubscribed })
	return err
}
