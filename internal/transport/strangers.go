package transport

import "net"

// strangers bounds the datagrams of each handshake, before quic-go sees them. Whoever sends one
// has proved nothing yet, and what it costs is up to the sender: quic-go looks for each frame of
// a packet in a list of up to 1000 gaps, so that a datagram of 1200 bytes takes half a
// millisecond, as long as a whole handshake. How many handshakes begin is the gate's to bound.
//
// They are counted by the connection ID that they are for, which nobody can guess: who forges
// addresses uses up nothing of others'. Datagrams of connections that are established have
// short headers, and only their first byte is looked at. One goroutine at a time may use a
// strangers.
type strangers struct {
	dropped func(peer, text string) // hears of each datagram that is dropped; must not block
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
	// headerForm is set in the first byte of a packet of a handshake (RFC 8999, section 5.1).
	headerForm = 0x80
	// packetType is zero in one that begins with an Initial packet (RFC 9000, section 17.2).
	packetType = 0x30
	// maxInitials is how many datagrams with Initial packets are for one connection ID, at most.
	// Without losses they are two, for a ClientHello has a post-quantum key. The side that hears
	// nothing sends two more at a time, 5 times within the time that a dial has, and what is
	// dropped then has come before.
	maxInitials = 12
	// maxHandshakeDatagrams is how many others are: a chain of certificates may have 16 KiB,
	// which are 14, and half as many acknowledge those of the other side.
	maxHandshakeDatagrams = 24
	// maxConnIDs bounds the connection IDs that are remembered. One that makes way is as good as
	// new, so there are many more than handshakes under way.
	maxConnIDs = 32 << 10
)

func newStrangers(dropped func(peer, text string)) strangers {
	return strangers{dropped: dropped, sent: newLately[connID, arrivals](maxConnIDs)}
}

// admits reports whether quic-go may see a datagram, which has a long header.
func (s *strangers) admits(b []byte, from net.Addr) bool {
	var to connID
	if len(b) > 6 { // the first byte, the version, and the length (RFC 8999, section 5.1)
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
	s.dropped(from.String(), "more datagrams of one handshake than it takes; they are dropped")
	return false
}
