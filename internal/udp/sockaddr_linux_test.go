package udp

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAddressesAreThoseOfTheKernel(t *testing.T) {
	zone, err := net.InterfaceByIndex(1)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		addr *net.UDPAddr
		v6   bool
		want string // empty if package net must handle the address
	}{
		{&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7443}, false, "192.0.2.1:7443"},
		{&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 65535}, false, "192.0.2.1:65535"},
		{&net.UDPAddr{IP: net.ParseIP("2001:db8::1"), Port: 1}, false, ""},
		{&net.UDPAddr{IP: net.ParseIP("2001:db8::1"), Port: 258}, true, "[2001:db8::1]:258"},
		{&net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7443}, true, "[::ffff:192.0.2.1]:7443"},
		{&net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 7443, Zone: zone.Name}, true, ""},
		{&net.UDPAddr{Port: 7443}, true, ""},
		{&net.UDPAddr{Port: 7443}, false, ""},
		{&net.UDPAddr{IP: net.IP{1, 2, 3}, Port: 7443}, false, ""},
		{nil, false, ""},
	} {
		var s sockaddr
		_, ok := s.set(test.addr, test.v6)
		if ok != (test.want != "") {
			t.Errorf("%v, IPv6 %t: taken %t", test.addr, test.v6, ok)
		}
		if ok && s.addrPort(new(zones)).String() != test.want {
			t.Errorf("%v, IPv6 %t: %v, want %s", test.addr, test.v6, s.addrPort(new(zones)), test.want)
		}
	}
	for id, want := range map[uint32]string{1: "[fe80::1%" + zone.Name + "]:0", 9999: "[fe80::1%9999]:0"} {
		var s sockaddr
		s.raw.Family, s.raw.Addr, s.raw.Scope_id = unix.AF_INET6, netip.MustParseAddr("fe80::1").As16(), id
		if got := s.addrPort(new(zones)).String(); got != want {
			t.Errorf("scope %d: %s, want %s", id, got, want)
		}
	}
}

// TestAnAddressHasNothingOfTheLast checks addresses that are set again: writes recycle them between sockets,
// and the IPv4 address is where IPv6 has the flow label.
func TestAnAddressHasNothingOfTheLast(t *testing.T) {
	v4 := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7443}
	v6 := &net.UDPAddr{IP: net.ParseIP("2001:db8::1"), Port: 258}
	for _, test := range []struct {
		last, addr *net.UDPAddr
		v6         bool
	}{{v4, v6, true}, {v6, v4, false}} {
		var want, got sockaddr
		want.set(test.addr, test.v6)
		got.set(test.last, !test.v6)
		got.set(test.addr, test.v6)
		if got != want {
			t.Errorf("%v after %v: %+v, want %+v", test.addr, test.last, got.raw, want.raw)
		}
	}
	for _, port := range []int{-1, 1 << 16} {
		var s sockaddr
		if _, ok := s.set(&net.UDPAddr{IP: v4.IP, Port: port}, false); ok {
			t.Errorf("port %d is taken, for another", port)
		}
	}
}
