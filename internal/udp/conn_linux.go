package udp

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// groBatch is how many datagrams one system call reads, as many as quic-go does.
	groBatch = 8
	// groBuffer is the size in bytes of the longest datagram that the kernel merges from several.
	groBuffer = 64 << 10
	// groControl is the room in bytes for the control messages of a datagram: ECN, address, segment size, and those
	// of options that somebody else has set on the socket.
	groControl = 512
	// quicControl is how many bytes of control messages quic-go takes.
	quicControl = 128
	// groAlone is how many datagrams are read alone before one read looks whether more
	// are waiting. Looking costs a second try in the kernel. It goes on while there is a queue.
	groAlone = 15
	// stirEvery is the interval at which a system call is announced to the Go scheduler,
	// as long as datagrams come.
	stirEvery = 10 * time.Millisecond
)

// systemConn reads and writes datagrams with its own system calls, and does two things that
// the sockets of package net do not.
//
// It receives with UDP_GRO datagrams that the kernel has merged, and hands them to quic-go
// one by one. A peer on the same host, or a network card that merges what it receives, then
// costs a tenth of the system calls and of the way through the kernel. That takes a
// buffer of 64 KiB, of which only the pages that long datagrams reach are ever touched,
// and up to groBatch of them once datagrams queue.
//
// It also makes system calls that never block without announcing them to the scheduler. A
// process that waits for one reply at a time is idle between any two datagrams. The first
// announced call after that wakes the scheduler's monitor thread, which then polls every
// 20 µs, beside the call, until all is idle again. Without the announcement a call took 8.7
// context switches of its two processes instead of 11.5. The monitor also preempts goroutines
// that do not yield, so it never sleeps longer than stirEvery when there is traffic: once in
// that time a call is announced, and a timer is set that the monitor does not sleep past.
//
// quic-go reads through ReadBatch, from one goroutine, if a socket has that method.
type systemConn struct {
	*net.UDPConn

	// errs handles errors. If it is nil, the caller does.
	errs *sturdy

	raw syscall.RawConn
	// v6 means that the socket is of the family AF_INET6, which takes IPv4, too.
	v6 bool
	// stir sets due when stirEvery is over.
	due  atomic.Bool
	stir *time.Timer

	// in holds the datagrams that were read last.
	in   [groBatch]datagram
	head [groBatch]mmsghdr
	// call is receive. It is made once because it would be allocated each time.
	call func(fd uintptr) bool
	// room is how many of in have a buffer, want how many datagrams are asked for, and got how
	// many were received.
	room int
	want int
	got  int
	fail syscall.Errno

	// next is the index in in of the datagram that quic-go gets next. rest is what quic-go has
	// not got yet of the one before it, and size the size of the parts of that one.
	next int
	rest []byte
	size int
	// alone counts the datagrams read alone since the last look for more.
	alone int

	// from and sender are the address of the last sender, and zones the zones of senders.
	from   sockaddr
	sender net.Addr
	zones  zones
}

// datagram is the memory in which one datagram is received. part refers to buf.
type datagram struct {
	buf     []byte
	control [groControl]byte
	from    sockaddr
	part    unix.Iovec
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	msg unix.Msghdr
	n   uint32
}

// systemSocket returns a systemConn on conn, or conn itself if it is not a UDP socket or the
// kernel (before 5.0) does not offer UDP_GRO.
func systemSocket(conn net.PacketConn) net.PacketConn {
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return conn
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return conn
	}
	c := &systemConn{UDPConn: udp, raw: raw}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		var name unix.Sockaddr
		if name, failed = unix.Getsockname(int(fd)); failed == nil {
			_, c.v6 = name.(*unix.SockaddrInet6)
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		}
	}); err != nil || failed != nil {
		return conn
	}
	c.due.Store(true)
	c.stir = time.AfterFunc(stirEvery, func() { c.due.Store(true) })
	c.call = c.receive
	c.grow(1)
	return c
}

// grow makes room for room datagrams, but for at most groBatch.
func (c *systemConn) grow(room int) {
	for ; c.room < min(room, groBatch); c.room++ {
		in, msg := &c.in[c.room], &c.head[c.room].msg
		in.buf = make([]byte, groBuffer)
		in.part.Base = &in.buf[0]
		in.part.SetLen(len(in.buf))
		msg.Name = in.from.pointer()
		msg.Iov = &in.part
		msg.SetIovlen(1)
		msg.Control = &in.control[0]
	}
}

// ReadBatch fills ms with datagrams, at least one, and returns how many.
func (c *systemConn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	for n := 0; ; {
		for len(c.rest) > 0 {
			if n == len(ms) {
				return n, nil
			}
			if c.cut(&ms[n]) {
				n++
			}
		}
		if c.next < c.got {
			c.open()
			continue
		}
		if n > 0 {
			return n, nil
		}
		if err := c.read(); err != nil {
			if c.errs != nil && c.errs.rest(err) {
				continue
			}
			return 0, err
		}
		if c.errs != nil {
			c.errs.came()
		}
	}
}

// endure implements enduring.
func (c *systemConn) endure(s *sturdy) { c.errs = s }

// SetReadDeadline implements net.PacketConn.
func (c *systemConn) SetReadDeadline(t time.Time) error {
	if c.errs != nil && !t.IsZero() {
		c.errs.end()
	}
	return c.UDPConn.SetReadDeadline(t)
}
