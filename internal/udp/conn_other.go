//go:build !linux

package udp

import "net"

// systemSocket returns conn: only Linux has another socket.
func systemSocket(conn net.PacketConn) net.PacketConn { return conn }

// withoutSegments finds no segments, because quic-go lets only the Linux kernel cut datagrams.
func withoutSegments(oob []byte) (rest []byte, size int) { return oob, 0 }
