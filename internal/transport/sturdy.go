package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"

	"github.com/linkmesh/link/internal/clock"
)

// sturdy keeps errors of a socket from ending connections. All connections share the socket, and quic-go ends all
// of them when a read fails, and one when a write fails. Neither is necessary: the kernel reports the loss of one
// datagram, or a passing condition such as a full queue, a firewall without room, or an interface that is gone for a
// moment. QUIC is made for losses, and link notices silence in time.
//
//   - A read that fails is repeated, after a pause if the one before failed, too. After readsFail without a
//     datagram the socket is given up, and the endpoint with it: see [Endpoint.Failed].
//   - A write that fails is repeated once, because the error may be about an earlier datagram. If it fails again,
//     the datagram is lost. Only an error of the first packets of a handshake ends the handshake, to tell the dialer.
//
// Errors about the size of a datagram are passed to quic-go, which probes the MTU of a path with them. If a device does
// not cut datagrams into segments, sturdy does.
//
// sturdy also drops the datagrams that strangers does not admit.
type sturdy struct {
	log *slog.Logger
	// failed is called with the reason why the socket can no longer be read.
	failed func(error)

	// ended is closed when quic-go has ended the reads, which it does with a deadline. end closes it.
	ended chan struct{}
	end   func()

	// row counts the reads that have failed since the last datagram, and since is when the first of them failed.
	// Only the goroutine that reads uses them.
	row   int
	since time.Time

	strangers strangers

	// lost counts the datagrams that could not be sent. said is when that was logged last, on the scale of package clock.
	lost atomic.Uint64
	said atomic.Int64
}

const (
	// readPause is the pause after the second failed read in a row. It doubles with each further one, up to
	// readPauseMost.
	readPause     = time.Millisecond
	readPauseMost = 100 * time.Millisecond
	// readsFail is how long a socket may return nothing but errors before it is given up.
	readsFail = 10 * time.Second
	// lostEvery is how often it is logged, at most, that datagrams cannot be sent.
	lostEvery = 10 * time.Second
)

// enduring is a socket that applies a sturdy itself.
type enduring interface {
	net.PacketConn
	endure(s *sturdy)
}

// batchConn is a socket from which quic-go reads several datagrams at once.
type batchConn interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
}

// sturdySocket returns a socket that is sturdy. dropped is called for each datagram that
// strangers does not admit.
func sturdySocket(conn net.PacketConn, log *slog.Logger, failed func(error), dropped func(peer, text string)) net.PacketConn {
	s := &sturdy{log: log, failed: failed, ended: make(chan struct{}), strangers: newStrangers(dropped)}
	s.end = sync.OnceFunc(func() { close(s.ended) })
	packets := sturdyPackets{conn, s}
	switch c := systemSocket(conn).(type) {
	case enduring:
		c.endure(s)
		return c
	case quic.OOBCapablePacketConn:
		if b, ok := c.(batchConn); ok {
			return &sturdyMessages{c, packets, b}
		}
		if _, ok := c.(net.Conn); ok {
			return &sturdyMessages{c, packets, ipv4.NewPacketConn(c)}
		}
	}
	return packets
}

// rest pauses after a read that failed, and reports whether to read again.
func (s *sturdy) rest(err error) bool {
	select {
	case <-s.ended:
		return false
	default:
	}
	if s.row++; s.row == 1 {
		s.since = time.Now()
	}
	switch {
	case errors.Is(err, net.ErrClosed):
		s.failed(fmt.Errorf("somebody else has closed it: %w", err))
		return false
	case s.row == 1:
		return true
	case time.Since(s.since) > readsFail:
		s.failed(fmt.Errorf("reading it has failed for %v: %w", readsFail, err))
		return false
	}
	t := time.NewTimer(min(readPause<<min(s.row-2, 10), readPauseMost))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ended:
		return false
	}
}

// came notes that a datagram was read.
func (s *sturdy) came() {
	if s.row != 0 {
		s.row = 0
	}
}

// sift empties the datagrams that quic-go may not see. quic-go skips empty ones.
func (s *sturdy) sift(ms []ipv4.Message) {
	for i := range ms {
		m := &ms[i]
		if m.N > 0 && m.Buffers[0][0]&headerForm != 0 && !s.strangers.admits(m.Buffers[0][:m.N], m.Addr) {
			m.N = 0
		}
	}
}

// resend repeats a write that failed with err, and returns the error for quic-go.
func (s *sturdy) resend(b, oob []byte, to net.Addr, err error, write func(b, oob []byte) error) error {
	if errors.Is(err, syscall.EIO) {
		if rest, size := withoutSegments(oob); size > 0 {
			return s.cut(b, rest, size, to, write)
		}
	}
	if isForQUIC(err) {
		return err
	}
	if err = write(b, oob); err == nil || isForQUIC(err) {
		return err
	}
	// Initial packets are defined in RFC 9000, section 17.2.2.
	if initial := b[0]&0xb0 == 0x80; initial && !isForNow(err) {
		// On EIO itself, quic-go would cut the packet into parts of zero bytes, in an endless loop.
		if errors.Is(err, syscall.EIO) {
			return errors.New(err.Error())
		}
		return err
	}
	lost := s.lost.Add(1)
	now, last := clock.Now(), s.said.Load()
	if (last == 0 || now-last >= int64(lostEvery)) && s.said.CompareAndSwap(last, now) {
		s.log.Warn("link: datagrams cannot be sent, and are lost", "to", to.String(), "error", err, "lost", lost)
	}
	return nil
}

// cut writes the packets one by one that a device did not accept as segments of one datagram. quic-go could do that
// itself, but it records the error in a variable that another goroutine reads without a lock.
func (s *sturdy) cut(b, oob []byte, size int, to net.Addr, write func(b, oob []byte) error) error {
	for len(b) > 0 {
		part := b[:min(size, len(b))]
		b = b[len(part):]
		err := write(part, oob)
		if err != nil {
			err = s.resend(part, oob, to, err, write)
		}
		if err != nil && !isTooLong(err) {
			return err
		}
	}
	return nil
}

// The Windows errors WSAEMSGSIZE and WSAENOBUFS, which package syscall does not define.
const (
	errTooLong = syscall.Errno(10040)
	errNoRoom  = syscall.Errno(10055)
)

// isForQUIC reports whether quic-go handles an error of a write itself, or the socket is closed.
func isForQUIC(err error) bool {
	return isTooLong(err) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
}

func isTooLong(err error) bool { return errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, errTooLong) }

// isForNow reports whether an error says that there is no room at the moment.
func isForNow(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, errNoRoom) || errors.Is(err, syscall.ENOMEM)
}

// sturdyPackets is a sturdy socket of any kind.
type sturdyPackets struct {
	net.PacketConn

	sturdy *sturdy
}

// ReadFrom implements net.PacketConn.
func (c sturdyPackets) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := c.PacketConn.ReadFrom(b)
		if err == nil {
			c.sturdy.came()
			if n > 0 && b[0]&headerForm != 0 && !c.sturdy.strangers.admits(b[:n], from) {
				continue
			}
			return n, from, nil
		}
		if !c.sturdy.rest(err) {
			return n, from, err
		}
	}
}

// WriteTo implements net.PacketConn.
func (c sturdyPackets) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := c.PacketConn.WriteTo(b, to)
	if err == nil || len(b) == 0 {
		return n, err
	}
	if err := c.sturdy.resend(b, nil, to, err, func(b, _ []byte) error { _, err := c.PacketConn.WriteTo(b, to); return err }); err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetReadDeadline implements net.PacketConn.
func (c sturdyPackets) SetReadDeadline(t time.Time) error {
	if !t.IsZero() {
		c.sturdy.end()
	}
	return c.PacketConn.SetReadDeadline(t)
}

// SetReadBuffer sets the size of the socket's receive buffer, if it has one. Without this method, quic-go would
// write to the standard log.
func (c sturdyPackets) SetReadBuffer(bytes int) error {
	if of, ok := c.PacketConn.(interface{ SetReadBuffer(bytes int) error }); ok {
		return of.SetReadBuffer(bytes)
	}
	return nil
}

// SetWriteBuffer is like SetReadBuffer for the send buffer.
func (c sturdyPackets) SetWriteBuffer(bytes int) error {
	if of, ok := c.PacketConn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		return of.SetWriteBuffer(bytes)
	}
	return nil
}

// sturdyMessages is a sturdy socket that takes control messages, as the sockets of package net do.
type sturdyMessages struct {
	quic.OOBCapablePacketConn

	packets sturdyPackets
	batch   batchConn
}

// ReadFrom implements net.PacketConn.
func (c *sturdyMessages) ReadFrom(b []byte) (int, net.Addr, error) { return c.packets.ReadFrom(b) }

// WriteTo implements net.PacketConn.
func (c *sturdyMessages) WriteTo(b []byte, to net.Addr) (int, error) { return c.packets.WriteTo(b, to) }

// SetReadDeadline implements net.PacketConn.
func (c *sturdyMessages) SetReadDeadline(t time.Time) error { return c.packets.SetReadDeadline(t) }

// SetWriteBuffer sets the size of the kernel's send buffer. quic-go calls it.
func (c *sturdyMessages) SetWriteBuffer(bytes int) error {
	if s, ok := c.OOBCapablePacketConn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		return s.SetWriteBuffer(bytes)
	}
	return errors.ErrUnsupported
}

// ReadBatch implements batchConn.
func (c *sturdyMessages) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	for {
		n, err := c.batch.ReadBatch(ms, flags)
		if err == nil {
			c.packets.sturdy.came()
			c.packets.sturdy.sift(ms[:n])
			return n, nil
		}
		if !c.packets.sturdy.rest(err) {
			return n, err
		}
	}
}

// WriteMsgUDP implements quic.OOBCapablePacketConn.
func (c *sturdyMessages) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = c.OOBCapablePacketConn.WriteMsgUDP(b, oob, to)
	if err == nil || len(b) == 0 {
		return n, oobn, err
	}
	err = c.packets.sturdy.resend(b, oob, to, err, func(b, oob []byte) error {
		_, _, err := c.OOBCapablePacketConn.WriteMsgUDP(b, oob, to)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return len(b), len(oob), nil
}
