package link

import (
	"context"
	"time"

	"github.com/linkmesh/link/internal/transport"
)

// fit names the route to the peer, and sees that the message is no larger than both sides take.
func (o *outgoing) fit(ctx context.Context, session *transport.Session, in *instance) error {
	r, known := session.Route(uint64(o.Route.Kind), o.Route.Name)
	own := o.service.node.cfg.Limits.maxMessage()
	if !known && session.Remote().MaxMessage > uint64(own) && !o.config.sized {
		r, known = o.awaitRoute(ctx, session)
	}
	if known {
		o.headers.Route, o.headers.RouteKind, o.headers.RouteID = "", 0, r.ID
		if r.Level != uint64(o.Route.Level) {
			o.lower(r, in)
		}
	} else {
		o.headers.Route, o.headers.RouteKind = o.Route.Name, uint64(o.Route.Kind)
	}
	o.headers.MaxMessage = 0 // our SETUP says it
	if r.MaxMessage == 0 && !o.config.sized && o.size <= own && uint64(o.size) <= session.Remote().MaxMessage {
		return nil // as nearly all
	}
	return o.fitLarge(session, r, own, in)
}

// fitLarge is fit where a message or a limit is not as usual. Like failed and broken it is apart so that the
// goroutines that wait for replies have small stacks: with many calls under way they would not fit the caches.
func (o *outgoing) fitLarge(session *transport.Session, r transport.PeerRoute, own int, in *instance) error {
	theirs := session.Remote().MaxMessage
	whose, of := "the Config.Limits.MaxMessage", " of "+in.ID
	if r.MaxMessage > 0 {
		theirs, whose = r.MaxMessage, "the route's MaxMessage"
	}
	mine := max(own, int(min(r.MaxMessage, maxMessageCap)))
	if o.config.sized {
		mine = o.config.size
	}
	if mine != own {
		o.headers.MaxMessage = uint64(mine)
	}
	switch {
	case o.size > mine && o.config.sized:
		return o.tooLarge(mine, "the call's MaxMessage", "")
	case o.size > mine:
		return o.tooLarge(mine, "this node's Config.Limits.MaxMessage", "; MaxMessage is an option of calls and handlers, too")
	case uint64(o.size) > theirs:
		return o.tooLarge(int(theirs), whose, of)
	}
	return nil
}

// careful makes the call go by the level that the server announces, which may have come since the call was sent: the
// first one on a connection may be ahead of the routes. They have a stream of their own, so it waits for them a moment.
func (o *outgoing) careful(ctx context.Context, session *transport.Session, in *instance) {
	if o.Route.Level == Unsafe {
		return
	}
	session.AwaitRoutes(ctx.Done(), namesWait, o.deadline)
	if r, known := session.Route(uint64(o.Route.Kind), o.Route.Name); known {
		o.lower(r, in)
	}
}

// levelOf is the level that a server announces. One that nobody knows is [Unsafe].
func levelOf(r transport.PeerRoute) Level {
	if r.Level > uint64(ReadOnly) {
		return Unsafe
	}
	return Level(r.Level)
}

// lower makes the call go by the level of its method that the server has announced, if that is the more careful one: the
// server knows what its method does, and a retry that it does not expect does harm there.
func (o *outgoing) lower(r transport.PeerRoute, in *instance) {
	theirs := levelOf(r)
	if theirs >= o.Route.Level {
		return
	}
	if o.service.say("level " + o.Route.Name) {
		o.service.node.cfg.Logger.Warn("link: a method is less safe to run twice than its callers here say; calls go by its server",
			"service", o.Route.Service, "method", o.Route.Name, "instance", in.ID, "served", theirs, "called", o.Route.Level,
			"fix", "give NewMethod the same Level on both sides")
	}
	o.Route.Level = theirs
}

func (o *outgoing) tooLarge(limit int, whose, more string) error {
	return Errorf(ResourceExhausted, "request of %d bytes exceeds %s of %d bytes%s", o.size, whose, limit, more)
}

// routesWait is how long the first call on a connection waits to learn how large the messages of its route may be,
// if those of some route may be larger than is usual here. A server announces its routes as soon as it is connected.
const routesWait = time.Second

// awaitRoute waits until the peer has announced its routes.
func (o *outgoing) awaitRoute(ctx context.Context, session *transport.Session) (transport.PeerRoute, bool) {
	session.AwaitRoutes(ctx.Done(), routesWait, o.deadline)
	return session.Route(uint64(o.Route.Kind), o.Route.Name)
}
