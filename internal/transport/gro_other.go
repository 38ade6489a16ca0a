//go:build !linux

package transport

import "net"

// receiveOffload changes nothing here; UDP_GRO is Linux's.
func receiveOffload(conn net.PacketConn) net.PacketConn { return conn }
