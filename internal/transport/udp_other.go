//go:build !linux

package transport

import "net"

// systemSocket changes nothing here; what it does is Linux's.
func systemSocket(conn net.PacketConn) net.PacketConn { return conn }

// withoutSegments finds none, as quic-go lets the kernel of Linux alone cut datagrams.
func withoutSegments(oob []byte) (rest []byte, size int) { return oob, 0 }
