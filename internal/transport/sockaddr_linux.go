package transport

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is an address as the kernel has it: struct sockaddr_in or sockaddr_in6.
type sockaddr struct{ raw unix.RawSockaddrInet6 }

// sockaddrLen is the length of the longer one.
const sockaddrLen = unix.SizeofSockaddrInet6

func (s *sockaddr) pointer() *byte { return (*byte)(unsafe.Pointer(&s.raw)) }

func (s *sockaddr) v4() *unix.RawSockaddrInet4 {
	return (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
}

// port returns the two bytes of the port, which are in network order.
func (s *sockaddr) port() []byte { return (*[2]byte)(unsafe.Pointer(&s.raw.Port))[:] } // at the same place in both

// set sets the address of a socket that is of IPv6 or not, and returns its length. It
// reports false if that takes more than copying.
func (s *sockaddr) set(addr *net.UDPAddr, v6 bool) (length uint32, ok bool) {
	if addr == nil || addr.Zone != "" || addr.Port != int(uint16(addr.Port)) {
		return 0, false
	}
	s.raw = unix.RawSockaddrInet6{} // what was IPv4's address would be IPv6's flow label
	if binary.BigEndian.PutUint16(s.port(), uint16(addr.Port)); v6 {
		s.raw.Family = unix.AF_INET6
		return unix.SizeofSockaddrInet6, copy(s.raw.Addr[:], addr.IP.To16()) == len(s.raw.Addr)
	}
	s.raw.Family = unix.AF_INET
	return unix.SizeofSockaddrInet4, copy(s.v4().Addr[:], addr.IP.To4()) == len(s.v4().Addr)
}

// addrPort returns the address. As in package net, one of IPv4 on a socket of IPv6 is
// mapped to that.
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

// zones are names of interfaces, kept for as long as package net keeps them. To ask the
// kernel for one takes 35 µs.
type zones struct {
	names map[int]string // by index
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
