package link

import (
	"net"
	"net/netip"

	"github.com/linkmesh/link/internal/router"
)

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
