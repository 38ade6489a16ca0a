package transport

import "net"

// strangers bounds the datagrams of each handshake, before quic-go sees them. Their sender has
// proved nothing yet, and decides what they cost: quic-go searches a list of up to 1000 gaps for
// each frame of a packet, so that a datagram of 1200 bytes takes half a millisecond, as long as
// a whole handshake. The gate bounds how many handshakes begin.
//
// Datagrams are counted by their destination connection ID, which nobody can guess: a sender
// that forges addresses does not use up the allowance of others. Datagrams of established
// connections have short headers, and only their first byte is looked at. One goroutine at a
// time may use a strangers.
type strangers struct {
	// dropped is called for each datagram that is dropped. It must not block.
	dropped func(peer, text string)
	sent    lately[connID, arrivals]
}

// arrivals counts the datagrams for one connection ID.
type arrivals struct{ initials, others int }

// connID is a connection ID in a packet with a long header.
type connID struct {
	length uint8
	id     [20]byte
}

const (
	// packetType is zero in the first byte of a datagram that begins with an Initial packet
	// (RFC 9000, section 17.2).
	packetType = 0x30
	// maxInitials is the most datagrams with Initial packets for one connection ID. Without
	// losses there are two, because a ClientHello has a post-quantum key. A side that hears
	// nothing sends two more at a time, 5 times within the time that a dial has, and what is
	// dropped then has arrived before.
	maxInitials = 12
	// maxHandshakeDatagrams is the most other datagrams for one connection ID: a certificate
	// chain of up to 16 KiB takes 14, and half as many acknowledge those of the other side.
	maxHandshakeDatagrams = 24
	// maxConnIDs bounds the connection IDs that are remembered. An evicted one counts from zero
	// again, so there is room for many more than there are handshakes under way.
	maxConnIDs = 32 << 10
)

func newStrangers(dropped func(peer, text string)) strangers {
	return strangers{dropped: dropped, sent: newLately[connID, arrivals](maxConnIDs)}
}

// admits reports whether quic-go may see a datagram with a long header.
func (s *strangers) admits(b []byte, from net.Addr) bool {
	var to connID
	// The first byte, the version and the length precede the connection ID (RFC 8999, section 5.1).
	if len(b) > 6 {
		to.length = b[5]
		copy(to.id[:], b[6:min(len(b), 6+int(b[5]))])
	}
	sent := s.sent.at(to)
	n, most := &sent.others, maxHandshakeDatagrams
	if b[0]&packetType == 0 {
		n, most = &sent.initials, maxInitials
	}
	if *n < most {
		*n++
		return true
	}
	s.dropped(from.String(), "too many datagrams for one handshake; the rest are dropped")
	return false
}
