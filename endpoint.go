package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"syscall"

	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/resetkey"
	"github.com/linkmesh/link/internal/router"
	"github.com/linkmesh/link/internal/transport"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security"
)

// socket returns the endpoint, opening the socket at first use.
func (n *Node) socket() (*transport.Endpoint, error) {
	if e := n.endpoint.Load(); e != nil {
		return e, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.socketLocked()
}

func (n *Node) socketLocked() (*transport.Endpoint, error) {
	if n.state == stateClosed {
		return nil, errNodeClosed
	}
	if e := n.endpoint.Load(); e != nil {
		return e, nil
	}
	tier := n.identity.Tier()
	conn := n.cfg.Socket
	if conn == nil {
		bind, err := n.cfg.bindAddr(tier)
		if err != nil {
			return nil, err
		}
		var lc net.ListenConfig
		if conn, err = lc.ListenPacket(context.Background(), "udp", bind); err != nil {
			return nil, Errorf(Unavailable, "opening the UDP socket on %s: %w%s", bind, err, inUse(err))
		}
	}
	e, err := transport.New(transport.Config{
		Conn:      conn,
		ServerTLS: func(protocol string) *tls.Config { return mtls.Server(n.identity, protocol) },
		Identify:  n.identify,
		Refusal:   refusalReason,
		Setup:     n.setup,
		MayDial:   n.router.MayDial,
		Handler:   (*dispatcher)(n),
		Limits:    n.cfg.Limits.transport(),
		Logger:    n.cfg.Logger,
		ResetKey:  n.resetKey(conn.LocalAddr()),
	})
	if err != nil {
		return nil, Errorf(Unavailable, "starting QUIC: %w", errors.Join(err, conn.Close()))
	}
	n.endpoint.Store(e)
	n.cfg.Logger.Info("link: node", "service", n.cfg.identityName(), "instance", n.instance, "tier", tier.String(),
		"trust_domain", n.identity.ID().TrustDomain(), "bind", e.Addr().String())
	return e, nil
}

// inUse returns advice for the case that another process has the address, or "".
func inUse(err error) string {
	if errors.Is(err, syscall.EADDRINUSE) {
		return "; another process has it: choose another port in Config.Addr or LINK_ADDR, or end that one"
	}
	return ""
}

// noState is the Config.StateDir of a node that keeps nothing.
const noState = "off"

// resetKey returns the key for the stateless resets of a node that listens at local. It returns
// nil, for a random key, if nothing is kept or if the node may have another address next time, so
// that no process would take over from it. See docs/adr/0016-stateless-resets.md.
func (n *Node) resetKey(local net.Addr) *[32]byte {
	if n.cfg.StateDir == noState || n.cfg.Socket == nil && !n.cfg.fixedPort() {
		return nil
	}
	secret, err := resetkey.Secret(n.cfg.StateDir)
	if err != nil {
		n.cfg.Logger.Warn("link: peers will be slow to notice a restart of this node: the secret for its stateless resets cannot be kept",
			"error", err, "fix", `set Config.StateDir or LINK_STATE_DIR to a folder of this user, or to "off"`)
		return nil
	}
	// The host name, "" if there is none, tells apart two machines that share a state folder.
	host, _ := os.Hostname()
	key, err := resetkey.Derive(secret, n.identity.ID().String(), host, local.String())
	if err != nil {
		// For example, the secret may not be allowed as a key.
		n.cfg.Logger.Warn("link: could not derive the key for stateless resets; peers will be slow to notice a restart", "error", err)
		return nil
	}
	return key
}

// fixedPort reports whether the node is configured to listen on a fixed port.
func (cfg *Config) fixedPort() bool {
	_, port, err := net.SplitHostPort(cfg.Addr)
	return err == nil && port != "" && port != "0"
}

// setup returns what the node announces on each connection.
func (n *Node) setup() (wire.Setup, []wire.RouteInfo) {
	routes := n.routes.infos()
	s := wire.Setup{
		Version: 1, Instance: n.instance, Tags: n.presence.Tags(),
		MaxMessage: uint64(n.routes.maxMessage(n.cfg.Limits.maxMessage())),
		Codecs:     []uint64{uint64(n.cfg.Codec.ID())},
	}
	return s, routes
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

// onLoopback reports whether the node itself can be reached from this machine
// only.
func (n *Node) onLoopback() bool {
	if host, _, err := net.SplitHostPort(n.Addr()); err == nil {
		return router.Loopback(host)
	}
	if n.cfg.Socket != nil {
		host, _, err := net.SplitHostPort(n.cfg.Socket.LocalAddr().String())
		return err == nil && router.Loopback(host)
	}
	bind, err := n.cfg.bindAddr(n.identity.Tier())
	if err != nil {
		return false
	}
	host, _, err := net.SplitHostPort(bind)
	return err == nil && router.Loopback(host)
}

// refusalReason returns the reason why the verifier of package security refused a peer, or
// "" if it did not.
func refusalReason(err error) string {
	if refusal, ok := errors.AsType[*security.VerifyError](err); ok {
		return refusal.Reason.String()
	}
	return ""
}
