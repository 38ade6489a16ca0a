package link

import (
	"context"
	"errors"
	"time"

	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// Open opens a stream to an instance of the route's service. It blocks until the
// instance lets it open one, at most until ctx ends or, if ctx has no deadline, for as
// long as [Host.Call] may take. The stream lives until the handler returns,
// [Stream.Close] is called, or ctx ends, which resets it. Options: Meta, StreamCredit,
// AnsweredBy, MaxMessage, Sticky, InZone, OnInstance, OnTags and WaitForReady.
//
// Errors: those of [Host.Call]; ResourceExhausted if Limits.Streams.Waiters already wait for a
// stream of the connection. A refusal by the handler arrives at Recv.
func (h Host) Open(ctx context.Context, r Route, opts ...CallOption) (*Stream, error) {
	n := h.node
	c := &call{}
	c.Route, c.Client = r, true
	for _, opt := range opts {
		opt.applyCall(&c.config)
	}
	c.Metadata = c.config.metadata
	if err := n.opener(context.WithValue(ctx, callKey{}, c), &c.Operation); err != nil {
		return nil, failed("open "+r.String(), err)
	}
	return c.Stream, nil
}

// openTerminal is the innermost handler of the client's middleware for streams.
func (n *Node) openTerminal(ctx context.Context, op *Operation) error {
	c, err := callOf(ctx, op)
	if err != nil {
		return err
	}
	err = n.open(ctx, c)
	op.Peer, op.Stream = c.Peer, c.Stream
	return err
}

func (n *Node) open(ctx context.Context, c *call) error {
	if err := checkCredit(c.config.messages, c.config.bytes); err != nil {
		return err
	}
	if err := n.prepare(ctx, c); err != nil {
		return err
	}
	c.describe(ctx)
	headers := &c.attempt.headers
	headers.Credit = wire.Credit{Messages: uint64(c.config.messages), Bytes: uint64(c.config.bytes)}
	headers.Timeout = wire.MaxVarint
	if d, ok := ctx.Deadline(); ok {
		headers.Timeout = uint64(max(time.Until(d).Microseconds(), 1))
	}
	for {
		t, err := c.search.Next(ctx, transport.ClassBulk)
		if err != nil {
			return routed(err)
		}
		if err = c.openOn(ctx, t); err == nil {
			return nil
		}
		if te, ok := errors.AsType[*transport.Error](err); ok && (!te.NotProcessed || te.Reason == transport.ReasonCanceled) {
			return fromRouter(t.Error(err))
		}
		if err := c.search.Unreached(ctx, t, err); err != nil {
			return routed(err)
		}
	}
}

func (c *call) openOn(ctx context.Context, t router.Target) error {
	if err := c.fit(ctx, t); err != nil {
		return err
	}
	// The deadline is for opening the stream, which outlives it.
	opening, opened := context.WithDeadline(ctx, c.search.Deadline())
	raw, err := t.Session.Open(opening, &c.attempt.headers)
	opened()
	if err != nil {
		return err
	}
	t.Hold()
	sctx, cancel := context.WithCancelCause(ctx)
	st := &Stream{ctx: sctx, cancel: cancel, raw: raw, route: c.Route, client: true}
	st.stop = context.AfterFunc(sctx, func() { raw.Cancel(wire.CodeCanceled) })
	raw.OnEnd(func() {
		t.Release()
		st.stop()
		cancel(ErrFinished)
	})
	c.Stream = st
	c.Peer = peerOf(t.Session)
	if c.config.answered != nil {
		*c.config.answered = c.Peer
	}
	return nil
}
