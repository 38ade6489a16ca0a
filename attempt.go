package link

import (
	"context"
	"errors"
	"time"

	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/transport"
)

// begin counts an attempt at an instance, and names the route for it. A non-nil error settles the call: the message is too
// large for one side.
func (c *call) begin(ctx context.Context, t router.Target) error {
	if err := c.fit(ctx, t); err != nil {
		return err
	}
	a := &c.attempt
	a.target, a.number, a.start = t, c.search.Start(t), c.search.Now()
	a.headers.Attempt = uint64(a.number - 1)
	c.span.Attempt(a.number, t.ID())
	return nil
}

// mover returns what lets the attempt leave an instance in doubt, nil if the call must not run twice.
func (c *call) mover() transport.Mover {
	if c.config.ask.Level == router.ReadOnly {
		return &c.search
	}
	return nil
}

// end takes in how the attempt ended. It reports whether the call is settled, by a reply or by an error that another
// attempt must not follow.
func (c *call) end(ctx context.Context, err error) (settled bool, failure error) {
	if err != nil {
		return c.broken(ctx, err)
	}
	a := &c.attempt
	defer a.reply.Release()
	c.record()
	if a.reply.Status.Code == 0 {
		return c.search.Done(ctx, a.target, &router.Outcome{Start: a.start, End: a.reply.At, Reply: &a.reply.Status}), c.decode()
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
	if len(c.node.cfg.ClientMiddleware) > 0 {
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

// fit names the route for the peer, and checks that both sides accept a message of this size.
func (c *call) fit(ctx context.Context, t router.Target) error {
	session, headers := t.Session, &c.attempt.headers
	r, known := session.Route(uint64(c.Route.Kind), c.Route.Name)
	own := c.node.cfg.Limits.maxMessage()
	if !known && session.Remote().MaxMessage > uint64(own) && !c.config.sized {
		r, known = c.awaitRoute(ctx, session)
	}
	if known {
		headers.Route, headers.RouteKind, headers.RouteID = "", 0, r.ID
		if r.Level != uint64(c.config.ask.Level) {
			c.search.Heed(t, r)
		}
	} else {
		headers.Route, headers.RouteKind = c.Route.Name, uint64(c.Route.Kind)
	}
	// Zero means the limit that this side announced in its SETUP.
	headers.MaxMessage = 0
	// Nearly all calls return here.
	if r.MaxMessage == 0 && !c.config.sized && c.size <= own && uint64(c.size) <= session.Remote().MaxMessage {
		return nil
	}
	return c.fitLarge(t, r, own)
}

// fitLarge is fit for an unusual message size or limit. It is a function of its own for the reason that refused is.
func (c *call) fitLarge(t router.Target, r transport.PeerRoute, own int) error {
	theirs := t.Session.Remote().MaxMessage
	whose, of := "the Config.Limits.MaxMessage", " of "+t.ID()
	if r.MaxMessage > 0 {
		theirs, whose = r.MaxMessage, "the route's MaxMessage"
	}
	mine := max(own, int(min(r.MaxMessage, maxMessageCap)))
	if c.config.sized {
		mine = c.config.size
	}
	if mine != own {
		c.attempt.headers.MaxMessage = uint64(mine)
	}
	switch {
	case c.size > mine && c.config.sized:
		return c.tooLarge(mine, "the call's MaxMessage", "")
	case c.size > mine:
		return c.tooLarge(mine, "this node's Config.Limits.MaxMessage", "; the option MaxMessage raises it for one call or route")
	case uint64(c.size) > theirs:
		return c.tooLarge(int(theirs), whose, of)
	}
	return nil
}

// routesWait is how long the first call on a connection waits to learn the message limit of its route, if some route
// of the peer allows more than this node does. A server announces its routes as soon as it is connected.
const routesWait = time.Second

// awaitRoute waits until the peer has announced its routes, at most for routesWait, and returns the call's route.
func (c *call) awaitRoute(ctx context.Context, session *transport.Session) (transport.PeerRoute, bool) {
	session.AwaitRoutes(ctx.Done(), routesWait, c.search.Deadline())
	return session.Route(uint64(c.Route.Kind), c.Route.Name)
}
