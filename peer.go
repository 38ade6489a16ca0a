package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/spell"
	"github.com/linkmesh/link/internal/trace"
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

// Caller returns the peer that called, if ctx is the context of a handler;
// otherwise the zero Peer.
func Caller(ctx context.Context) Peer {
	if info := infoOf(ctx); info != nil {
		return peerOf(info.session)
	}
	return Peer{}
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

// identify returns the identity of the peer of a verified handshake, for the transport.
// own is the certificate that this node showed, nil if it is not known.
func (n *Node) identify(state tls.ConnectionState, own *x509.Certificate) (transport.Identity, error) {
	peer, err := mtls.PeerFromState(state)
	if err != nil {
		return transport.Identity{}, err
	}
	expires := peer.NotAfter
	if own != nil && own.NotAfter.Before(expires) {
		expires = own.NotAfter
	}
	tier := n.identity.Tier()
	v := &verified{peer: peer, advisory: tier != security.TierProduction, tls: tls.VersionName(state.Version), keyExchange: state.CurveID.String()}
	return transport.Identity{Key: peer.ID.String(), Advisory: tier == security.TierClusterSecret, Peer: v, Expires: expires}, nil
}

func verifiedOf(s *transport.Session) *verified {
	v, _ := s.Peer().(*verified)
	return v
}

// correlation returns how far the trace context of a caller is trusted.
func (n *Node) correlation(s *transport.Session) trace.Correlation {
	if verifiedOf(s).peer.ID.TrustDomain() != n.identity.ID().TrustDomain() {
		return trace.Foreign
	}
	return trace.Child
}

func peerOf(s *transport.Session) Peer {
	v, remote := verifiedOf(s), s.Remote()
	return Peer{
		Identity: v.peer.ID, Advisory: v.advisory, Instance: remote.Instance, Tags: s.Tags(), Addr: s.RemoteAddr(),
		TLS: v.tls, KeyExchange: v.keyExchange,
	}
}
