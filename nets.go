package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/security"
)

// metadataServices are addresses that no instance may have, whatever a registry
// says: cloud metadata services answer any process on the machine and give out its
// credentials.
var metadataServices = []netip.Addr{ //nolint:gochecknoglobals // a constant
	netip.AddrFrom4([4]byte{169, 254, 169, 254}), // most clouds
	netip.AddrFrom4([4]byte{169, 254, 170, 2}),   // credentials of AWS ECS tasks
	netip.MustParseAddr("fd00:ec2::254"),         // AWS over IPv6
}

// mayDial returns an error if an address must not be dialed. It is also called for
// the addresses that host names resolve to.
func (n *Node) mayDial(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	switch {
	case !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%v is not the address of one machine", addr)
	case slices.Contains(metadataServices, addr):
		return fmt.Errorf("%v is a metadata service", addr)
	}
	if len(n.cfg.AllowNets) == 0 {
		return nil
	}
	for _, p := range n.cfg.AllowNets {
		if p.Contains(addr) {
			return nil
		}
	}
	return fmt.Errorf("%v is outside of Config.AllowNets", addr)
}

// refused returns why an instance may not be dialed and how to fix that; both are
// "" if it may be.
func (n *Node) refused(in discovery.Instance, origin discovery.Origin) (why, fix string) {
	host, _, err := net.SplitHostPort(in.Addr)
	if err != nil {
		return "its address is not a host:port", "fix the registration"
	}
	local := loopback(host)
	if n.identity.Tier() == security.TierDev && !local {
		return "the development tier stays on this machine", "set LINK_CLUSTER_SECRET"
	}
	if local && n.elsewhere(origin) {
		return errHere.Error(), "announce it with an address that others reach: Config.Advertise; in the development tier it has none, so set LINK_CLUSTER_SECRET there"
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if err := n.mayDial(addr); err != nil {
			return err.Error(), "fix the registration, or Config.AllowNets"
		}
	}
	return "", ""
}

// errHere is why an instance in a shared registry may not be dialed at a loopback address.
var errHere = errors.New("it names this machine, but its registry is shared with others")

// elsewhere reports whether instances may be on other machines, so that a loopback address cannot
// be theirs: their registry is shared with other machines, and this node is not on loopback only.
func (n *Node) elsewhere(origin discovery.Origin) bool {
	return origin == discovery.FromNetwork && !n.onLoopback()
}

// mayDial returns an error if instances of the service must not be dialed at an address that
// their host names resolve to.
func (s *service) mayDial(addr netip.Addr) error {
	s.mu.Lock()
	origin := s.snapshot.Origin
	s.mu.Unlock()
	if addr.IsLoopback() && s.node.elsewhere(origin) {
		return fmt.Errorf("%v: %w", addr, errHere)
	}
	return nil
}

// onLoopback reports whether the node itself can be reached from this machine
// only.
func (n *Node) onLoopback() bool {
	if host, _, err := net.SplitHostPort(n.Addr()); err == nil {
		return loopback(host)
	}
	if n.cfg.Socket != nil {
		host, _, err := net.SplitHostPort(n.cfg.Socket.LocalAddr().String())
		return err == nil && loopback(host)
	}
	bind, err := n.cfg.bindAddr(n.identity.Tier())
	if err != nil {
		return false
	}
	host, _, err := net.SplitHostPort(bind)
	return err == nil && loopback(host)
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
