package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is an address in the kernel's format: struct sockaddr_in or sockaddr_in6.
type sockaddr struct{ raw unix.RawSockaddrInet6 }

// sockaddrLen is the length of the longer format in bytes.
const sockaddrLen = unix.SizeofSockaddrInet6

func (s *sockaddr) pointer() *byte { return (*byte)(unsafe.Pointer(&s.raw)) }

func (s *sockaddr) v4() *unix.RawSockaddrInet4 {
	return (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
}

// port returns the two bytes of the port, which are in network order and at the same offset
// in both formats.
func (s *sockaddr) port() []byte { return (*[2]byte)(unsafe.Pointer(&s.raw.Port))[:] }

// set sets the address for a socket of IPv6, if v6 is set, or IPv4, and returns its length.
// It reports false if the address cannot simply be copied, as with a zone.
func (s *sockaddr) set(addr *net.UDPAddr, v6 bool) (length uint32, ok bool) {
	if addr == nil || addr.Zone != "" || addr.Port != int(uint16(addr.Port)) {
		return 0, false
	}
	// An old IPv4 address would become the flow label of an IPv6 address.
	s.raw = unix.RawSockaddrInet6{}
	if binary.BigEndian.PutUint16(s.port(), uint16(addr.Port)); v6 {
		s.raw.Family = unix.AF_INET6
		return unix.SizeofSockaddrInet6, copy(s.raw.Addr[:], addr.IP.To16()) == len(s.raw.Addr)
	}
	s.raw.Family = unix.AF_INET
	return unix.SizeofSockaddrInet4, copy(s.v4().Addr[:], addr.IP.To4()) == len(s.v4().Addr)
}

// addrPort returns the address. As in package net, an IPv4 address on a socket of IPv6 is
// an IPv4-mapped IPv6 address.
func (s *sockaddr) addrPort(z *zones) netip.AddrPort {
	port := binary.BigEndian.Uint16(s.port())
	if s.raw.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4(s.v4().Addr), port)
	}
	ip := netip.AddrFrom16(s.raw.Addr)
	if id := int(s.raw.Scope_id); id != 0 {
		ip = ip.WithZone(z.name(id))
	}
	return netip.AddrPortFrom(ip, port)
}

// zones caches the names of interfaces by index, for as long as package net does. Asking
// the kernel for one takes 35 µs.
type zones struct {
	names map[int]string
	since time.Time
}

// name returns the name of an interface, or its index if there is none.
func (z *zones) name(id int) string {
	if now := time.Now(); z.names == nil || now.Sub(z.since) > time.Minute {
		z.names, z.since = make(map[int]string), now
	}
	name, ok := z.names[id]
	if !ok {
		name = strconv.Itoa(id)
		if i, err := net.InterfaceByIndex(id); err == nil {
			name = i.Name
		}
		z.names[id] = name
	}
	return name
}
