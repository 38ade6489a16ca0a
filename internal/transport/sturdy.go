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
// of them when a read fails, and one when a write does. Neither is called for: what the kernel reports is about one
// datagram, which is lost, or about something that passes, such as a full queue, a firewall without room, or an interface
// that is gone for a moment. Losses are what QUIC is made for, and silence is what link notices in time.
//
//   - A read that fails is made again, after a pause if the one before failed, too. After readsFail without a
//     datagram the socket is given up, and the endpoint with it: see [Endpoint.Failed].
//   - A write that fails is made again once, because the error may be that of an earlier datagram. If it fails again,
//     the datagram is lost; but an error of the first packets of a handshake ends it, for whoever dials wants to know.
//
// Errors of the size of a datagram are quic-go's, which finds out with them what a path takes. Where a device does not cut
// datagrams into segments, that is done here.
//
// And it drops what strangers send beyond what they may.
type sturdy struct {
	log    *slog.Logger
	failed func(error) // is told why the socket cannot be read any more

	ended chan struct{} // closed when quic-go has ended the reads, which it does with a deadline
	end   func()        // closes it

	// for the goroutine that reads
	row   int       // reads that have failed since the last datagram
	since time.Time // when the first of them did

	strangers strangers

	lost atomic.Uint64 // datagrams that could not be sent
	said atomic.Int64  // when that was logged last, on the scale of package clock
}

const (
	// readPause is how long the second read waits that fails in a row; each further one waits twice as long.
	readPause     = time.Millisecond
	readPauseMost = 100 * time.Millisecond
	// readsFail is for how long nothing but errors may come from a socket.
	readsFail = 10 * time.Second
	// lostEvery is how often it is logged that datagrams cannot be sent.
	lostEvery = 10 * time.Second
)

// enduring is a socket that heeds a sturdy itself.
type enduring interface {
	net.PacketConn
	endure(s *sturdy)
}

// batchConn is a socket that quic-go reads several datagrams of at once.
type batchConn interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
}

// sturdySocket returns a socket that is sturdy. dropped hears of the datagrams of strangers
// that are dropped.
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

// rest waits after a read that failed, and reports whether it is worth another one.
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

// sift empties the datagrams that quic-go may not see: it passes over them then.
func (s *sturdy) sift(ms []ipv4.Message) {
	for i := range ms {
		m := &ms[i]
		if m.N > 0 && m.Buffers[0][0]&headerForm != 0 && !s.strangers.admits(m.Buffers[0][:m.N], m.Addr) {
			m.N = 0
		}
	}
}

// resend makes a write again that has failed, and returns the error that quic-go is to know of.
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
	if initial := b[0]&0xb0 == 0x80; initial && !isForNow(err) { // RFC 9000, section 17.2.2
		if errors.Is(err, syscall.EIO) {
			return errors.New(err.Error()) // quic-go would cut the packet into parts of no bytes, without an end
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

// cut writes one by one the packets that a device did not take as segments of one datagram. quic-go could do that
// itself, but notes the error where another goroutine reads without a lock.
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

// Errors of Windows, WSAEMSGSIZE and WSAENOBUFS, that package syscall does not name.
const (
	errTooLong = syscall.Errno(10040)
	errNoRoom  = syscall.Errno(10055)
)

// isForQUIC reports whether quic-go makes something of an error of a write, or the socket is closed.
func isForQUIC(err error) bool {
	return isTooLong(err) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded)
}

func isTooLong(err error) bool { return errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, errTooLong) }

// isForNow reports whether an error says that there is no room at the moment.
func isForNow(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, errNoRoom) || errors.Is(err, syscall.ENOMEM)
}

// sturdyPackets is a socket of any kind.
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

// SetReadBuffer asks the socket, if it has a buffer. quic-go writes to the standard log if there is nobody to ask.
func (c sturdyPackets) SetReadBuffer(bytes int) error {
	if of, ok := c.PacketConn.(interface{ SetReadBuffer(bytes int) error }); ok {
		return of.SetReadBuffer(bytes)
	}
	return nil
}

// SetWriteBuffer is like SetReadBuffer.
func (c sturdyPackets) SetWriteBuffer(bytes int) error {
	if of, ok := c.PacketConn.(interface{ SetWriteBuffer(bytes int) error }); ok {
		return of.SetWriteBuffer(bytes)
	}
	return nil
}

// sturdyMessages is a socket that takes control messages, as those of package net do.
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

// SetWriteBuffer sets the size of the kernel's buffer, which quic-go asks for.
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
