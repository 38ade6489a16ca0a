package share

import "net/netip"

// Key says who a holder is.
type Key struct {
	Name string
	// Place is where the holder is, if its name is one that it chose; "" if its name
	// is proven.
	Place string
}

// KeyOf returns the key of one who has this name at the address, "host:port". If
// the name is advisory, one that it chose, the address counts too.
func KeyOf(name, addr string, advisory bool) Key {
	if !advisory {
		return Key{Name: name}
	}
	key := Key{Name: name, Place: "?"} // all whose addresses say nothing are at one place
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		key.Place = PlaceOf(ap.Addr()).String()
	}
	return key
}

// PlaceOf returns what one host has as a whole: an IPv4 address or an IPv6 /64.
// It is the zero Prefix for no address.
func PlaceOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, err := addr.Prefix(bits) // fails for the zero Addr
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
