package share

import "net/netip"

// Key identifies a holder.
type Key struct {
	Name string

	// Place is the location of a holder that chose its name itself. It is empty if
	// the name is verified.
	Place string
}

// KeyOf returns the key of a holder with a name at an address, "host:port". The
// address is part of the key only if the name is advisory, that is, chosen by the
// holder.
func KeyOf(name, addr string, advisory bool) Key {
	if !advisory {
		return Key{Name: name}
	}
	// All holders whose address cannot be parsed are at the same place.
	key := Key{Name: name, Place: "?"}
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		key.Place = PlaceOf(ap.Addr()).String()
	}
	return key
}

// PlaceOf returns the prefix that one host has as a whole: an IPv4 address or an
// IPv6 /64. It returns the zero Prefix for the zero Addr.
func PlaceOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
