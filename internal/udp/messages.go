package udp

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// messageConn is a socket that takes control messages, such as those of package net: quic-go calls it an
// OOBCapablePacketConn.
type messageConn interface {
	net.PacketConn
	SyscallConn() (syscall.RawConn, error)
	SetReadBuffer(bytes int) error
	ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error)
	WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error)
}

// batchConn is a socket from which quic-go reads several datagrams at once.
type batchConn interface {
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
}

// sturdyMessages is a sturdy socket that takes control messages, as the sockets of package net do.
type sturdyMessages struct {
	messageConn

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
	if s, ok := c.messageConn.(interface{ SetWriteBuffer(bytes int) error }); ok {
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

// WriteMsgUDP implements messageConn.
func (c *sturdyMessages) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = c.messageConn.WriteMsgUDP(b, oob, to)
	if err == nil || len(b) == 0 {
		return n, oobn, err
	}
	err = c.packets.sturdy.resend(b, oob, to, err, func(b, oob []byte) error {
		_, _, err := c.messageConn.WriteMsgUDP(b, oob, to)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return len(b), len(oob), nil
}
