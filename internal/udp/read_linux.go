package udp

import (
	"encoding/binary"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// read reads datagrams, at least one.
func (c *systemConn) read() error {
	if c.want = 1; c.alone >= groAlone {
		c.grow(2)
		c.want = c.room
	}
	for i := range c.want {
		msg := &c.head[i].msg
		msg.Namelen = sockaddrLen
		msg.SetControllen(groControl)
		msg.Flags = 0
	}
	c.got, c.next = 0, 0
	if err := c.raw.Read(c.call); err != nil {
		return err
	}
	if c.fail != 0 {
		return c.failed("read", "recvmsg", nil, c.fail)
	}
	switch c.alone++; {
	case c.want == 1:
	case c.got == 1:
		c.alone = 0
	case c.got == c.want:
		// There may be more.
		c.grow(2 * c.room)
	}
	return nil
}

// receive tries to receive up to want datagrams. It reports false if it must be called again
// once the socket is readable.
func (c *systemConn) receive(fd uintptr) bool {
	for {
		var n uintptr
		switch one, all := unsafe.Pointer(&c.head[0].msg), unsafe.Pointer(&c.head); {
		case c.due.Load():
			c.due.Store(false)
			c.stir.Reset(stirEvery)
			n, _, c.fail = syscall.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(all), uintptr(c.want), unix.MSG_DONTWAIT, 0, 0)
		case c.want == 1:
			n, _, c.fail = syscall.RawSyscall6(unix.SYS_RECVMSG, fd, uintptr(one), unix.MSG_DONTWAIT, 0, 0, 0)
			c.head[0].n, n = uint32(n), 1
		default:
			n, _, c.fail = syscall.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(all), uintptr(c.want), unix.MSG_DONTWAIT, 0, 0)
		}
		if c.fail == unix.EAGAIN {
			return false
		}
		if c.fail == 0 {
			c.got = int(n)
		}
		if c.fail != unix.EINTR {
			return true
		}
	}
}

// open begins to hand out the next datagram. It skips an empty one, as QUIC has none.
func (c *systemConn) open() {
	in, head := &c.in[c.next], &c.head[c.next]
	c.next++
	c.rest = in.buf[:head.n]
	control, size := cutSegmentSize(in.control[:], int(head.msg.Controllen))
	if control > quicControl || head.msg.Flags&unix.MSG_CTRUNC != 0 {
		control = keepForQUIC(in.control[:], control)
	}
	head.msg.SetControllen(control)
	if c.size = size; size <= 0 {
		c.size = len(c.rest)
	}
	if c.sender == nil || in.from != c.from {
		c.from, c.sender = in.from, net.UDPAddrFromAddrPort(in.from.addrPort(&c.zones))
	}
}

// cut hands out the next part of the datagram that was opened last, and reports whether
// quic-go may see it.
func (c *systemConn) cut(m *ipv4.Message) bool {
	in, msg := &c.in[c.next-1], &c.head[c.next-1].msg
	part := c.rest[:min(c.size, len(c.rest))]
	c.rest = c.rest[len(part):]
	if part[0]&longHeader != 0 && c.errs != nil && !c.errs.admit(part, c.sender) {
		return false
	}
	m.N = copy(m.Buffers[0], part)
	m.NN = copy(m.OOB, in.control[:msg.Controllen])
	m.Addr, m.Flags = c.sender, int(msg.Flags)
	return true
}

// cutSegmentSize removes the control message with the segment size from the first n bytes
// of oob. It returns how many bytes are left and the size, or 0 if there was none.
func cutSegmentSize(oob []byte, n int) (left, size int) {
	// x/sys does not check that there is a whole header.
	for at := 0; n-at >= unix.SizeofCmsghdr; {
		head, body, rest, err := unix.ParseOneSocketControlMessage(oob[at:n])
		// quic-go will find the same error.
		if err != nil {
			break
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

// keepForQUIC keeps only the control messages that quic-go reads, of those in the first n bytes, and returns how many
// bytes they take. quic-go would end all connections because of a message that is cut off.
func keepForQUIC(oob []byte, n int) (left int) {
	// x/sys does not check that there is a whole header.
	for at := 0; n-at >= unix.SizeofCmsghdr; {
		head, body, rest, err := unix.ParseOneSocketControlMessage(oob[at:n])
		if err != nil {
			break
		}
		end := n - len(rest)
		want := -1
		switch [2]int32{head.Level, head.Type} {
		case [2]int32{unix.IPPROTO_IP, unix.IP_TOS}:
			want = 1
		case [2]int32{unix.IPPROTO_IP, unix.IP_PKTINFO}:
			want = unix.SizeofInet4Pktinfo
		case [2]int32{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:
			want = 4
		case [2]int32{unix.IPPROTO_IPV6, unix.IPV6_PKTINFO}:
			want = unix.SizeofInet6Pktinfo
		}
		if len(body) == want {
			left += copy(oob[left:], oob[at:end])
		}
		at = end
	}
	return min(left, quicControl)
}

// failed returns the error of a system call as package net would, because quic-go inspects
// it.
func (c *systemConn) failed(op, name string, addr net.Addr, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Addr: addr, Err: os.NewSyscallError(name, errno)}
}
