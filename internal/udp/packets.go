package udp

import (
	"net"
	"time"
)

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
			if n > 0 && b[0]&longHeader != 0 && !c.sturdy.admit(b[:n], from) {
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
