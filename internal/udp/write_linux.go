package udp

import (
	"encoding/binary"
	"net"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// WriteMsgUDP implements messageConn.
func (c *systemConn) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = c.write(b, oob, addr)
	if err == nil || c.errs == nil || len(b) == 0 {
		return n, oobn, err
	}
	if err := c.errs.resend(b, oob, addr, err, func(b, oob []byte) error { _, _, err := c.write(b, oob, addr); return err }); err != nil {
		return 0, 0, err
	}
	return len(b), len(oob), nil
}

// withoutSegments returns the control messages without the one that asks the kernel to cut a datagram into
// segments, and the size of the segments, or 0 if there is no such message.
func withoutSegments(oob []byte) (rest []byte, size int) {
	// x/sys does not check that there is a whole header.
	for len(oob) >= unix.SizeofCmsghdr {
		head, body, left, err := unix.ParseOneSocketControlMessage(oob)
		// Malformed messages are not ours to report.
		if err != nil {
			return nil, 0
		}
		if head.Level == unix.IPPROTO_UDP && head.Type == unix.UDP_SEGMENT && len(body) >= 2 {
			size = int(binary.NativeEndian.Uint16(body))
		} else {
			rest = append(rest, oob[:len(oob)-len(left)]...)
		}
		oob = left
	}
	return rest, size
}

func (c *systemConn) write(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	w, _ := datagramWrites.Get().(*datagramWrite)
	defer datagramWrites.Put(w)
	length, ok := w.to.set(addr, c.v6)
	if !ok || len(b) == 0 {
		return c.UDPConn.WriteMsgUDP(b, oob, addr)
	}
	w.msg.Namelen = length
	w.part.Base = unsafe.SliceData(b)
	w.part.SetLen(len(b))
	w.msg.Control = unsafe.SliceData(oob)
	w.msg.SetControllen(len(oob))
	err = c.raw.Write(w.call)
	w.part.Base, w.msg.Control = nil, nil
	if err == nil && w.fail != 0 {
		err = c.failed("write", "sendmsg", addr, w.fail)
	}
	if err != nil {
		return 0, 0, err
	}
	return w.n, len(oob), nil
}

// datagramWrite is one call of sendmsg(2).
type datagramWrite struct {
	to   sockaddr
	part unix.Iovec
	msg  unix.Msghdr
	// call is send. It is made once because it would be allocated each time.
	call func(fd uintptr) bool
	n    int
	fail syscall.Errno
}

// datagramWrites recycles the memory that a system call points to, which would be allocated
// each time. The cache does not affect behavior, so it may be global.
var datagramWrites = sync.Pool{New: func() any { //nolint:gochecknoglobals // see above
	w := new(datagramWrite)
	w.call = w.send
	w.msg.Name = w.to.pointer()
	w.msg.Iov = &w.part
	w.msg.SetIovlen(1)
	return w
}}

// send tries to send. It reports false if it must be called again once the socket is writable.
func (w *datagramWrite) send(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&w.msg)), unix.MSG_DONTWAIT)
		if errno == unix.EAGAIN {
			return false
		}
		if errno != unix.EINTR {
			w.n, w.fail = int(n), errno
			return true
		}
	}
}
