package udp

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// knock reports whether the host of addr says that nobody listens there. With a report,
// the kernel returns the datagram that it is about, so only somebody who has seen the knock
// can make one.
func knock(ctx context.Context, local netip.Addr, addr netip.AddrPort) (refused bool) {
	conn, done, err := dialKnock(ctx, local, addr)
	if err != nil {
		return false
	}
	defer done()
	if err := reportErrors(conn); err != nil {
		return false
	}
	b := newKnock()
	if _, err := conn.Write(b[:]); err != nil {
		return false
	}
	return undelivered(conn, b[:])
}

// reportErrors makes the kernel keep reports on datagrams of the socket.
func reportErrors(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		v4 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		v6 := unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		// Which of the two works depends on the address family.
		if v4 != nil && v6 != nil {
			failed = v4
		}
	})
	if err != nil {
		return err
	}
	return failed
}

// undelivered reports whether a report arrives that nobody received the datagram. It waits
// until the read deadline of the socket.
func undelivered(conn *net.UDPConn, datagram []byte) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	found := false
	err = raw.Read(func(fd uintptr) bool {
		for more := true; more && !found; {
			found, more = nextReport(int(fd), datagram)
		}
		return found
	})
	return err == nil && found
}

// nextReport takes the next report of a socket. more reports whether there was one, and
// refused whether it says that nobody received the datagram.
func nextReport(fd int, datagram []byte) (refused, more bool) {
	var about [2 * knockSize]byte
	var control [512]byte
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, about[:], control[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return false, false
		default:
			return bytes.Equal(about[:n], datagram) && refuses(control[:oobn]), true
		}
	}
}

// refuses reports whether control messages hold an ICMP report that nobody listens at a port.
func refuses(control []byte) bool {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return false
	}
	for _, m := range messages {
		v4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
		v6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		// The data begins with a struct sock_extended_err: ee_errno, then ee_origin.
		if (!v4 && !v6) || len(m.Data) < 8 {
			continue
		}
		origin := m.Data[4]
		if (origin == unix.SO_EE_ORIGIN_ICMP || origin == unix.SO_EE_ORIGIN_ICMP6) &&
			binary.NativeEndian.Uint32(m.Data) == uint32(unix.ECONNREFUSED) {
			return true
		}
	}
	return false
}
