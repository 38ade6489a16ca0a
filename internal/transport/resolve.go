package transport

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// maxAddresses is how many addresses of a host name one dial tries.
const maxAddresses = 16

// resolve returns the addresses of "host:port" in the order in which they are to be
// dialed. Only host names reach the resolver, anew for each dial, because the addresses of
// a name may change.
func (e *Endpoint) resolve(ctx context.Context, addr string) ([]netip.AddrPort, error) {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return []netip.AddrPort{ap}, nil
	}
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	resolver := e.cfg.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	port, err := resolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	ips, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	all := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		if ap := netip.AddrPortFrom(ip.Unmap(), uint16(port)); !slices.Contains(all, ap) {
			all = append(all, ap)
		}
	}
	local := addrPort(e.Addr()).Addr()
	reachable := slices.DeleteFunc(slices.Clone(all), func(ap netip.AddrPort) bool { return !reaches(local, ap.Addr()) })
	if len(reachable) == 0 {
		return nil, fmt.Errorf("%s is at %v, which a socket at %v does not reach", host, all, local)
	}
	return interleave(reachable), nil
}

// reaches reports whether a socket at local can send to remote at all. An IPv4 socket reaches
// only IPv4, and an IPv6 socket reaches IPv4 only if its address is unspecified.
func reaches(local, remote netip.Addr) bool {
	switch {
	case !local.IsValid() || local == netip.IPv6Unspecified():
		return true
	case local.Unmap().Is4():
		return remote.Is4()
	}
	return remote.Is6()
}

// interleave alternates between addresses of the two families, in the resolver's order and
// beginning with the family that it prefers (RFC 8305, section 4), so that a family that does
// not work costs one head start. It returns at most maxAddresses.
func interleave(addrs []netip.AddrPort) []netip.AddrPort {
	var first, second []netip.AddrPort
	for _, ap := range addrs {
		if ap.Addr().Is4() == addrs[0].Addr().Is4() {
			first = append(first, ap)
		} else {
			second = append(second, ap)
		}
	}
	out := make([]netip.AddrPort, 0, len(addrs))
	for len(first)+len(second) > 0 {
		if len(first) > 0 {
			out, first = append(out, first[0]), first[1:]
		}
		if len(second) > 0 {
			out, second = append(out, second[0]), second[1:]
		}
	}
	return out[:min(len(out), maxAddresses)]
}
