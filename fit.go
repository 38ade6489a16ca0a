package link

import (
	"context"
	"time"

	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/transport"
)

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
		return c.tooLarge(mine, "this node's Config.Limits.MaxMessage", "; MaxMessage is an option of calls and handlers, too")
	case uint64(c.size) > theirs:
		return c.tooLarge(int(theirs), whose, of)
	}
	return nil
}

func (c *call) tooLarge(limit int, whose, more string) error {
	return Errorf(ResourceExhausted, "request of %d bytes exceeds %s of %d bytes%s", c.size, whose, limit, more)
}

// routesWait is how long the first call on a connection waits to learn the message limit of its route, if some route
// of the peer allows more than this node does. A server announces its routes as soon as it is connected.
const routesWait = time.Second

// awaitRoute waits until the peer has announced its routes, at most for routesWait, and returns the call's route.
func (c *call) awaitRoute(ctx context.Context, session *transport.Session) (transport.PeerRoute, bool) {
	session.AwaitRoutes(ctx.Done(), routesWait, c.search.Deadline())
	return session.Route(uint64(c.Route.Kind), c.Route.Name)
}
