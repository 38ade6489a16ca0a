//go:build !linux

package transport

import "net"

// systemSocket changes nothing here; what it does is Linux's.
func systemSocket(conn net.PacketConn) net.PacketConn { return conn }
