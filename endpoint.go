package link

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/linkmesh/link/internal/mtls"
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

// unmapped returns networks with IPv4-mapped IPv6 networks as IPv4, the form in which addresses are compared.
func unmapped(nets []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(nets))
	for _, p := range nets {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out
}

// refusalReason returns the reason why the verifier of package security refused a peer, or
// "" if it did not.
func refusalReason(err error) string {
	if refusal, ok := errors.AsType[*security.VerifyError](err); ok {
		return refusal.Reason.String()
	}
	return ""
}
