package link

import (
	"time"

	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/spell"
	"github.com/linkmesh/link/internal/transport"
)

// maxRouteSearches bounds the searches for similar names among the routes of a peer, per connection and
// [spell.CacheTime]; errors beyond them propose nothing. Both the names and the word that is searched for may come from
// others.
const maxRouteSearches = 64

// proposeRoute returns the end of an error about a route that a peer does not serve: the similar
// names that it does serve, or "". The error may come before the peer's routes, which have a
// stream of their own, so it waits for them: at most for router.NamesWait, and no longer than until stop
// is closed or, if it is not zero, until the given time. It waits in full only once per connection.
func proposeRoute(stop <-chan struct{}, r Route, session *transport.Session, until time.Time) string {
	session.AwaitRoutes(stop, router.NamesWait, until)
	return verifiedOf(session).nearRoutes.Propose(r.Kind.String()+" "+r.Name, maxRouteSearches, func() string {
		return spell.Proposal(r.Name, session.RouteNames(uint64(r.Kind)))
	})
}

// Unserved returns an error that says why nobody serves a route for calls with these
// options: no instance of its service is known; those that are known lack the route, with
// the nearest names that exist; or none of them could be connected to yet. It returns nil if
// the node is connected to an instance that serves the route. It is for patterns whose users
// wait, to tell them or to log it. It dials nothing. It may block 100 ms for the registry,
// or 200 ms for the routes of instances that were connected to just now.
//
// The error begins with "nobody serves stage receipts of service mailer". Its code is
// Unavailable, or Unimplemented if the route's name is wrong, or that of an error that makes
// a call fail before it is sent, as with [Node.Call].
func (n *Node) Unserved(r Route, opts ...CallOption) error {
	if err := n.unserved(r, opts); err != nil {
		found := failed("", err)
		return &Error{
			Code:    found.Code,
			Message: "nobody serves " + r.Kind.String() + " " + r.Name + " of service " + r.Service + ": " + found.Message,
			Cause:   err,
		}
	}
	return nil
}

func (n *Node) unserved(r Route, opts []CallOption) error {
	if err := r.Validate(); err != nil {
		return err
	}
	reach, err := n.router.Reach(askOf(r, opts))
	if err != nil {
		return routed(err)
	}
	// This is longer than one wait, so that the session remembers a wait in full.
	until := time.Now().Add(2 * router.NamesWait)
	for _, session := range reach.Sessions {
		session.AwaitRoutes(nil, router.NamesWait, until)
		if _, ok := session.Route(uint64(r.Kind), r.Name); ok {
			return nil
		}
	}
	where := router.Describe(n.registry)
	switch {
	case len(reach.Sessions) > 0:
		return Errorf(Unimplemented, "none of the %d instances in %s that are connected has it%s", len(reach.Sessions), where, proposeRoute(nil, r, reach.Sessions[0], until))
	case reach.Trouble != nil:
		return Errorf(Code(reach.Trouble.Code), "none of the %d instances in %s is connected: %w", reach.Instances, where, fromRouter(reach.Trouble))
	}
	return Errorf(Unavailable, "none of the %d instances in %s is connected", reach.Instances, where)
}
