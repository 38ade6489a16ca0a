package transport

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// groBatch is how many datagrams one system call reads, as many as quic-go does.
	groBatch = 8
	// groBuffer holds the longest datagram that the kernel makes of several.
	groBuffer = 64 << 10
	// groControl holds the control messages of a datagram: ECN, address, segment size.
	groControl = 128
	// groAlone is how many datagrams are read alone before one read looks whether more
	// are waiting. To read one takes 1.4 µs where a batch of one takes 1.9 µs; with a
	// queue, batches go on.
	groAlone = 15
)

// groConn reads datagrams that the kernel has received as one (UDP_GRO) and hands
// them to quic-go one by one. A peer on the same host, or a network card that
// merges what it receives, then costs a tenth of the system calls and of the way
// through the kernel. It holds 512 KiB of buffers, of which only the pages that long
// datagrams reach are ever touched.
//
// quic-go reads through ReadBatch, from one goroutine, if a socket has that method.
type groConn struct {
	*net.UDPConn

	in   *ipv4.PacketConn // of IPv6 too: the family makes no difference to reading
	read []ipv4.Message
	next int    // of read
	rest []byte // of the datagram before next that quic-go has not got
	size int    // of its parts

	alone  int            // datagrams read alone since more were looked for
	from   netip.AddrPort // of the last of them
	sender net.Addr       // the same
}

// receiveOffload returns a socket that reads with UDP_GRO, or conn itself if it is no
// UDP socket or the kernel (before 5.0) does not offer it.
func receiveOffload(conn net.PacketConn) net.PacketConn {
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return conn
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return conn
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	}); err != nil || failed != nil {
		return conn
	}
	c := &groConn{UDPConn: udp, in: ipv4.NewPacketConn(udp)}
	read := make([]ipv4.Message, groBatch)
	for i := range read {
		read[i] = ipv4.Message{Buffers: [][]byte{make([]byte, groBuffer)}, OOB: make([]byte, groControl)}
	}
	c.read = read[:0]
	return c
}

// ReadBatch fills ms with datagrams, at least one, and returns how many.
func (c *groConn) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	for n := 0; ; {
		for len(c.rest) > 0 {
			if n == len(ms) {
				return n, nil
			}
			c.cut(&ms[n])
			n++
		}
		if c.next < len(c.read) {
			c.open(&c.read[c.next])
			c.next++
			continue
		}
		if n > 0 {
			return n, nil
		}
		got, err := c.receive(flags)
		c.read, c.next = c.read[:max(got, 0)], 0
		if err != nil || got <= 0 {
			return 0, err
		}
	}
}

// receive reads datagrams into the messages of read, and returns how many.
func (c *groConn) receive(flags int) (int, error) {
	if c.alone < groAlone {
		c.alone++
		return c.receiveOne()
	}
	n, err := c.in.ReadBatch(c.read[:cap(c.read)], flags)
	if n <= 1 {
		c.alone = 0
	}
	return n, err
}

// receiveOne reads one datagram. It makes no address for a sender that was the last one
// too.
func (c *groConn) receiveOne() (int, error) {
	m := &c.read[:1][0]
	n, control, flags, from, err := c.ReadMsgUDPAddrPort(m.Buffers[0], m.OOB)
	if err != nil {
		return 0, err
	}
	if c.sender == nil || from != c.from {
		c.from, c.sender = from, net.UDPAddrFromAddrPort(from)
	}
	m.N, m.NN, m.Flags, m.Addr = n, control, flags, c.sender
	return 1, nil
}

// open begins to hand out a datagram. An empty one is left out: QUIC has none.
func (c *groConn) open(m *ipv4.Message) {
	c.rest = m.Buffers[0][:m.N]
	m.NN, c.size = cutSegmentSize(m.OOB, m.NN)
	if c.size <= 0 {
		c.size = len(c.rest)
	}
}

// cut hands out the next part of the datagram that was opened last.
func (c *groConn) cut(m *ipv4.Message) {
	from := &c.read[c.next-1]
	part := c.rest[:min(c.size, len(c.rest))]
	c.rest = c.rest[len(part):]
	m.N = copy(m.Buffers[0], part)
	m.NN = copy(m.OOB, from.OOB[:from.NN])
	m.Addr, m.Flags = from.Addr, from.Flags
}

// cutSegmentSize takes the control message with the segment size out of the first n
// bytes of oob, and returns how many are left and the size, 0 if there was none.
func cutSegmentSize(oob []byte, n int) (left, size int) {
	for at := 0; at < n; {
		head, body, rest, err := unix.ParseOneSocketControlMessage(oob[at:n])
		if err != nil {
			break // quic-go says the same of it
		}
		end := n - len(rest)
		if head.Level == unix.IPPROTO_UDP && head.Type == unix.UDP_GRO && len(body) >= 4 {
			size = int(binary.NativeEndian.Uint32(body))
			return at + copy(oob[at:], oob[end:n]), size
		}
		at = end
	}
	return n, 0
}
