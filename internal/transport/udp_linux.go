package transport

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
	// groBuffer holds the longest datagram that the kernel makes of several.
	groBuffer = 64 << 10
	// groControl holds the control messages of a datagram: ECN, address, segment size, and what options ask for that
	// somebody else has set on the socket.
	groControl = 512
	// quicControl is how much of that quic-go takes.
	quicControl = 128
	// groAlone is how many datagrams are read alone before one read looks whether more
	// are waiting. Looking costs a second try in the kernel; with a queue, it goes on.
	groAlone = 15
	// stirEvery is after what time a system call is one that the Go scheduler knows of,
	// as long as datagrams come.
	stirEvery = 10 * time.Millisecond
)

// udpConn reads and writes datagrams with its own system calls, and does two things that
// those of package net do not.
//
// It receives with UDP_GRO what the kernel has merged, and hands it to quic-go one by
// one. A peer on the same host, or a network card that merges what it receives, then
// costs a tenth of the system calls and of the way through the kernel. That takes a
// buffer of 64 KiB, of which only the pages that long datagrams reach are ever touched,
// and up to groBatch of them once datagrams queue.
//
// And it does not tell the scheduler of calls that never block. A process that waits for
// one reply at a time is idle between any two datagrams; the first announced call after
// that wakes the scheduler's monitor thread, which then looks around every 20 µs until
// all is idle again, and wakes, and runs, beside the call. Without it a call took 8.7
// context switches of its two processes in place of 11.5. The monitor is also what preempts those
// who do not yield, so it never sleeps longer than stirEvery when there is traffic: once
// in that time a call is announced, and a timer is set that the monitor does not sleep
// past.
//
// quic-go reads through ReadBatch, from one goroutine, if a socket has that method.
type udpConn struct {
	*net.UDPConn

	errs *sturdy // nil: errors are the caller's

	raw syscall.RawConn
	v6  bool // the socket is of the family AF_INET6, which takes IPv4 too
	due atomic.Bool
	// stir sets due when stirEvery is over.
	stir *time.Timer

	in   [groBatch]datagram // what was read last
	head [groBatch]mmsghdr
	call func(fd uintptr) bool // receives; made once, for it would be allocated
	room int                   // how many of in have a buffer
	want int                   // how many datagrams are asked for
	got  int                   // how many of in were received
	fail syscall.Errno

	next  int    // which of in quic-go gets next
	rest  []byte // what quic-go has not got yet of the datagram before next
	size  int    // the size of the parts of that datagram
	alone int    // datagrams read alone since more were looked for

	from   sockaddr // the last sender
	sender net.Addr // the same
	zones  zones    // the zones of senders
}

// datagram is what one datagram is received in.
type datagram struct {
	buf     []byte
	control [groControl]byte
	from    sockaddr
	part    unix.Iovec // buf
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	msg unix.Msghdr
	n   uint32
}

// systemSocket returns a socket that works as udpConn does, or conn itself if it is no
// UDP socket or the kernel (before 5.0) does not offer UDP_GRO.
func systemSocket(conn net.PacketConn) net.PacketConn {
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return conn
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return conn
	}
	c := &udpConn{UDPConn: udp, raw: raw}
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

// grow makes room for up to room datagrams.
func (c *udpConn) grow(room int) {
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
func (c *udpConn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
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
func (c *udpConn) endure(s *sturdy) { c.errs = s }

// SetReadDeadline implements net.PacketConn.
func (c *udpConn) SetReadDeadline(t time.Time) error {
	if c.errs != nil && !t.IsZero() {
		c.errs.end()
	}
	return c.UDPConn.SetReadDeadline(t)
}
