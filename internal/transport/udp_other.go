//go:build !linux

package transport

import "net"

// systemSocket changes nothing here; what it does is Linux's.
func systemSocket(conn net.PacketConn) net.PacketConn { return conn }

// isSegmented is false, as quic-go lets the kernel of Linux alone cut datagrams.
func isSegmented([]byte) bool { return false }
