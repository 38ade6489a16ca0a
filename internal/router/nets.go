package router

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

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

// MayDial returns an error if an address must not be dialed. It is also called for
// the addresses that host names resolve to.
func (r *Router) MayDial(addr netip.Addr) error {
	addr = addr.Unmap().WithZone("")
	switch {
	case !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%v does not name a single machine", addr)
	case slices.Contains(metadataServices, addr):
		return fmt.Errorf("%v is a cloud metadata service", addr)
	}
	if len(r.cfg.AllowNets) == 0 {
		return nil
	}
	for _, p := range r.cfg.AllowNets {
		if p.Contains(addr) {
			return nil
		}
	}
	return fmt.Errorf("%v is outside Config.Routing.AllowNets", addr)
}

// Loopback reports whether a host of a host:port is this machine by its name or address.
func Loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// refused returns why an instance may not be dialed and how to fix that; both are
// "" if it may be.
func (r *Router) refused(in discovery.Instance, origin discovery.Origin) (why, fix string) {
	host, _, err := net.SplitHostPort(in.Addr)
	if err != nil {
		return "its address is not a host:port", "fix the registration"
	}
	local := Loopback(host)
	if r.cfg.Node.Tier == security.TierDev && !local {
		return "the development tier stays on this machine", "set LINK_CLUSTER_SECRET"
	}
	if local && r.elsewhere(origin) {
		return errHere.Error(), "set its Config.Advertise to an address that others can reach; in the development tier there is none, so set LINK_CLUSTER_SECRET there"
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if err := r.MayDial(addr); err != nil {
			return err.Error(), "fix the registration, or Config.Routing.AllowNets"
		}
	}
	return "", ""
}

// errHere is why an instance in a shared registry may not be dialed at a loopback address.
var errHere = errors.New("it is a loopback address, but the registry is shared with other machines")

// elsewhere reports whether instances may be on other machines, so that a loopback address cannot
// be theirs: their registry is shared with other machines, and this node is not on loopback only.
func (r *Router) elsewhere(origin discovery.Origin) bool {
	return origin == discovery.FromNetwork && !r.cfg.OnLoopback()
}

// mayDial returns an error if instances of the service must not be dialed at an address that
// their host names resolve to.
func (s *Service) mayDial(addr netip.Addr) error {
	s.mu.Lock()
	origin := s.snapshot.Origin
	s.mu.Unlock()
	if addr.IsLoopback() && s.router.elsewhere(origin) {
		return fmt.Errorf("%v: %w", addr, errHere)
	}
	return nil
}
