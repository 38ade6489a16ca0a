package udp

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func inspect(raw syscall.RawConn) (f facts) {
	err := raw.Control(func(fd uintptr) {
		// Like quic-go, ask for more than the sysctl allows, which takes CAP_NET_ADMIN. On error a size is 0: unknown.
		f.readBuffer, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		if f.readBuffer < wantBuffer {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wantBuffer)
			f.readBuffer, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
		f.writeBuffer, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		if f.writeBuffer < wantBuffer {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, wantBuffer)
			f.writeBuffer, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		}
		_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		f.gso = err == nil
	})
	// If nothing is known, there is nothing to complain about.
	if err != nil {
		return facts{gso: true}
	}
	return f
}
