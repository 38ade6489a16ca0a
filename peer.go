package link

import (
	"time"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/spell"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/security"
)

// Peer is the other side of a call or stream.
type Peer struct {
	// Identity is proven by the peer's certificate. In the tiers without a CA it
	// proves membership only; see package security.
	Identity security.ID
	// Advisory means that the peer chose the name in Identity, as any member can in the
	// tiers without a CA: the cluster secret, and development, where every process of the
	// user has the same secret.
	Advisory bool
	// Instance and Tags are what the peer says about itself. They are only as true as
	// the peer is honest. Tags must not be modified.
	Instance string
	Tags     []string
	// Addr is the address of the peer's socket.
	Addr string
	// TLS and KeyExchange describe the connection, for logs: "TLS 1.3", "X25519MLKEM768".
	TLS         string
	KeyExchange string
}

// Service returns the service of the peer's identity.
func (p Peer) Service() string { return p.Identity.Service() }

// String returns the instance and the address, "orders-01k… at 10.0.0.5:7443".
func (p Peer) String() string {
	name := p.Instance
	if name == "" {
		name = p.Service()
	}
	if name == "" || p.Addr == "" {
		return name + p.Addr
	}
	return name + " at " + p.Addr
}

// verified is what a session keeps from its handshake.
type verified struct {
	peer        mtls.Peer
	advisory    bool
	tls         string
	keyExchange string
	// nearRoutes are proposals for calls of routes that the peer does not have.
	nearRoutes spell.Cache
}

func verifiedOf(s *transport.Session) *verified {
	v, _ := s.Peer().(*verified)
	return v
}

func peerOf(s *transport.Session) Peer {
	v, remote := verifiedOf(s), s.Remote()
	return Peer{
		Identity: v.peer.ID, Advisory: v.advisory, Instance: remote.Instance, Tags: s.Tags(), Addr: s.RemoteAddr(),
		TLS: v.tls, KeyExchange: v.keyExchange,
	}
}

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
