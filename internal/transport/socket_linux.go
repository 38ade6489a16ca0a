package transport

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func inspectSocket(raw syscall.RawConn) (f socketFacts) {
	err := raw.Control(func(fd uintptr) {
		// As quic-go does, ask for more than the sysctl allows; it takes CAP_NET_ADMIN.
		f.readBuffer, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) // 0 on error: unknown
		if f.readBuffer < wantBuffer {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, wantBuffer) // needs a privilege
			f.readBuffer, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
		f.writeBuffer, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		if f.writeBuffer < wantBuffer {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, wantBuffer) // needs a privilege
			f.writeBuffer, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF)
		}
		_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		f.gso = err == nil
	})
	if err != nil {
		return socketFacts{gso: true} // nothing known, nothing to complain about
	}
	return f
}
