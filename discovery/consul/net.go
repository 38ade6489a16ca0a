package consul

import (
	"net"
	"net/netip"
	"slices"
	"strings"
)

// addressRule says where instances may be: a registration could otherwise point everybody at a
// third party. It is immutable.
type addressRule struct {
	allow    []netip.Prefix
	metadata []netip.Addr
}

func newAddressRule(allow []netip.Prefix) addressRule {
	rule := addressRule{metadata: []netip.Addr{
		netip.AddrFrom4([4]byte{169, 254, 169, 254}), // most clouds
		netip.AddrFrom4([4]byte{169, 254, 170, 2}),   // credentials of AWS ECS tasks
		netip.MustParseAddr("fd00:ec2::254"),         // AWS over IPv6
	}}
	for _, p := range allow {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		rule.allow = append(rule.allow, p.Masked())
	}
	return rule
}

// check returns why an instance may not be at addr, a valid "host:port", or "". near says that
// loopback addresses mean this host.
func (r addressRule) check(addr string, near bool) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "is malformed"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		name := strings.ToLower(strings.TrimSuffix(host, "."))
		switch {
		case len(r.allow) > 0:
			return "is a host name, which AllowNets cannot judge"
		case !near && (name == "localhost" || strings.HasSuffix(name, ".localhost")): // RFC 6761 section 6.3
			return "is loopback, and the agent is on another host"
		}
		return ""
	}
	ip = ip.Unmap().WithZone("")
	if len(r.allow) > 0 {
		for _, p := range r.allow {
			if p.Contains(ip) {
				return ""
			}
		}
		return "is in none of AllowNets"
	}
	switch {
	case ip.IsLoopback() && !near:
		return "is loopback, and the agent is on another host"
	case ip.IsUnspecified(), ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is not the address of a single host"
	}
	if slices.Contains(r.metadata, ip) {
		return "is the metadata service of a cloud"
	}
	return ""
}

// loopbackAddr reports whether addr, a valid "host:port", is on this host.
func loopbackAddr(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}
