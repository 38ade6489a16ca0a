// Package udp is the socket below QUIC: batches, segmentation, ECN. It makes the system calls, keeps their errors from
// ending connections, and can ask a host whether anybody listens at a port. It knows of no connection and no peer.
//
// # Concurrency
//
// One goroutine at a time may read from a socket of [New]; any number may write to it.
package udp

import (
	"log/slog"
	"net"
	"sync"

	"golang.org/x/net/ipv4"
)

// Config configures a socket.
type Config struct {
	// Logger receives what cannot be returned to a caller.
	Logger *slog.Logger
	// Failed is called with the reason why the socket can no longer be read: reads have returned nothing but errors for
	// 10 s, or somebody else has closed it. The goroutine that reads calls it before its read returns an error. Each
	// further read may call it again.
	Failed func(error)
	// Admit reports whether QUIC may see a datagram with a long header (RFC 8999, section 5.1), which is one of a
	// handshake. QUIC sees all others. The goroutine that reads calls it, so it must not block, and it must not retain
	// the datagram. If Admit is nil, all are admitted.
	Admit func(datagram []byte, from net.Addr) bool
}

// New returns a socket for quic-go that reads from conn and writes to it. Nothing else may read from conn. The owner of
// conn closes it, after a read deadline has ended the reads.
//
// On Linux, a *net.UDPConn is read and written with system calls of this package, and receives several datagrams at a time.
// A socket has the methods that quic-go looks for: those of its OOBCapablePacketConn, if conn has them, with ReadBatch,
// and otherwise those of net.PacketConn.
//
// A write that fails counts as the loss of a datagram, and returns no error, unless quic-go acts on the error: if the
// datagram is too long, or the first of a handshake. A read that fails is repeated.
//
// New also asks the kernel for large buffers, and logs in one line what about conn costs throughput, if anything does.
func New(conn net.PacketConn, conf Config) net.PacketConn {
	check(conn, conf.Logger)
	s := &sturdy{log: conf.Logger, failed: conf.Failed, admit: conf.Admit, ended: make(chan struct{})}
	s.end = sync.OnceFunc(func() { close(s.ended) })
	if s.admit == nil {
		s.admit = func([]byte, net.Addr) bool { return true }
	}
	packets := sturdyPackets{conn, s}
	switch c := systemSocket(conn).(type) {
	case enduring:
		c.endure(s)
		return c
	case messageConn:
		if b, ok := c.(batchConn); ok {
			return &sturdyMessages{c, packets, b}
		}
		if _, ok := c.(net.Conn); ok {
			return &sturdyMessages{c, packets, ipv4.NewPacketConn(c)}
		}
	}
	return packets
}

// enduring is a socket that applies a sturdy itself.
type enduring interface {
	net.PacketConn
	endure(s *sturdy)
}
