package link

import (
	"context"
	"errors"
	"time"

	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
)

// attempt is one try of a call at one instance.
type attempt struct {
	target  router.Target
	headers wire.Headers
	reply   transport.Reply
	// number counts the attempts of the call, from 1.
	number int
	start  time.Time
}

// try sends the call to one instance. It reports whether the call is
// settled, by a reply or by an error that another attempt must not follow.
func (c *call) try(ctx context.Context, t router.Target) (settled bool, err error) {
	a := &c.attempt
	if err := c.fit(ctx, t); err != nil {
		return true, err
	}
	a.target, a.number, a.start = t, c.search.Start(t), c.search.Now()
	a.headers.Attempt = uint64(a.number - 1)
	c.span.Attempt(a.number, t.ID())
	var mover transport.Mover
	if c.config.ask.Level == router.ReadOnly {
		mover = &c.search
	}
	if err := t.Session.CallMovable(ctx, a.start, c.search.Deadline(), &a.headers, c.data, mover, &a.reply); err != nil {
		return c.broken(ctx, err)
	}
	defer a.reply.Release()
	c.record()
	if a.reply.Status.Code == 0 {
		return c.search.Done(ctx, t, &router.Outcome{Start: a.start, End: a.reply.At, Reply: &a.reply.Status}), c.decode()
	}
	return c.refused(ctx)
}

// refused handles a reply that is an error. Like broken it is a function of its own so that goroutines that wait for
// replies have small stacks: with many calls in flight, larger ones would not fit the caches.
func (c *call) refused(ctx context.Context) (settled bool, err error) {
	a := &c.attempt
	failure := fromStatus(&a.reply.Status, peerOf(a.target.Session).String())
	failure.Attempt = a.number
	settled = c.search.Done(ctx, a.target, &router.Outcome{
		Start: a.start, End: a.reply.At, Reply: &a.reply.Status, RetryAfter: failure.RetryAfter,
	})
	if failure.Code == Unimplemented {
		failure.Message += proposeRoute(ctx.Done(), c.Route, a.target.Session, c.search.Deadline())
	}
	failure.Message += c.search.Spent()
	return settled, failure
}

// broken handles an attempt that got no reply.
func (c *call) broken(ctx context.Context, err error) (settled bool, failure error) {
	a := &c.attempt
	settled = c.search.Done(ctx, a.target, &router.Outcome{Start: a.start, End: time.Now(), Err: err})
	te, ok := errors.AsType[*transport.Error](err)
	if !ok {
		return true, err
	}
	mapped := fromRouter(a.target.Error(te))
	mapped.Attempt = a.number
	if !te.NotProcessed && (te.Reason == transport.ReasonLost || te.Reason == transport.ReasonCanceled || te.Reason == transport.ReasonDoubt) {
		mapped.Message += "; the call may have run"
	}
	mapped.Message += c.search.Spent()
	return settled, mapped
}

// record stores the results that the options asked for, and Peer for middleware.
func (c *call) record() {
	a := &c.attempt
	if c.config.answered != nil {
		*c.config.answered = peerOf(a.target.Session)
	}
	if len(c.node.cfg.Client) > 0 {
		c.Peer = peerOf(a.target.Session)
	}
	if c.config.reply != nil {
		c.config.reply.pairs = a.reply.Status.Metadata
	}
}

func (c *call) decode() error {
	if c.Response == nil {
		return nil
	}
	reply, session := &c.attempt.reply, c.attempt.target.Session
	if reply.Message == nil {
		return &Error{Code: Internal, Peer: peerOf(session).String(), Message: "the reply holds no message"}
	}
	if err := c.node.cfg.Codec.Decode(reply.Message, c.Response); err != nil {
		e := failed("", uncoded(err, Internal, "decoding the reply into %T", c.Response))
		e.Peer = peerOf(session).String()
		return e
	}
	return nil
}
