package link

import (
	"context"
	"time"

	"github.com/linkmesh/link/internal/transport"
)

// fit names the route for the peer, and checks that both sides accept a message of this size.
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
	// Zero means the limit that this side announced in its SETUP.
	o.headers.MaxMessage = 0
	// Nearly all calls return here.
	if r.MaxMessage == 0 && !o.config.sized && o.size <= own && uint64(o.size) <= session.Remote().MaxMessage {
		return nil
	}
	return o.fitLarge(session, r, own, in)
}

// fitLarge is fit for an unusual message size or limit. Like failed and broken it is a function of its own so that
// goroutines that wait for replies have small stacks: with many calls in flight, larger ones would not fit the caches.
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

// careful applies the level that the server announces, which may have arrived since the call was sent: the first call on
// a connection may overtake the routes, which have a stream of their own. It waits up to namesWait for them.
func (o *outgoing) careful(ctx context.Context, session *transport.Session, in *instance) {
	if o.Route.Level == Unsafe {
		return
	}
	session.AwaitRoutes(ctx.Done(), namesWait, o.deadline)
	if r, known := session.Route(uint64(o.Route.Kind), o.Route.Name); known {
		o.lower(r, in)
	}
}

// levelOf returns the level that a server announces. An unknown level counts as [Unsafe].
func levelOf(r transport.PeerRoute) Level {
	if r.Level > uint64(ReadOnly) {
		return Unsafe
	}
	return Level(r.Level)
}

// lower applies the level that the server announced for the method, if that is the more careful one: the server knows
// what its method does, and a retry that it does not expect would do harm there.
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

// routesWait is how long the first call on a connection waits to learn the message limit of its route, if some route
// of the peer allows more than this node does. A server announces its routes as soon as it is connected.
const routesWait = time.Second

// awaitRoute waits until the peer has announced its routes, at most for routesWait, and returns the call's route.
func (o *outgoing) awaitRoute(ctx context.Context, session *transport.Session) (transport.PeerRoute, bool) {
	session.AwaitRoutes(ctx.Done(), routesWait, o.deadline)
	return session.Route(uint64(o.Route.Kind), o.Route.Name)
}
