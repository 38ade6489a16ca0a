package transport

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// setOption sets an option of a socket, as a user may who provides the socket.
func setOption(t *testing.T, conn *net.UDPConn, level, option, value int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), level, option, value); err != nil {
			t.Errorf("option %d of level %d: %v", option, level, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestAReportOnAnotherDatagramEndsNoConnection uses a socket with IP_RECVERR, as a user may provide: the kernel makes the
// next read or write fail when a datagram was refused, whatever its destination was.
func TestAReportOnAnotherDatagramEndsNoConnection(t *testing.T) {
	nobody, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	reporting := func() *net.UDPConn {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		setOption(t, conn, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		return conn
	}
	refused := func(conn *net.UDPConn) {
		t.Helper()
		if _, err := conn.WriteTo([]byte("anybody?"), nobody.LocalAddr()); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	bare := reporting()
	defer bare.Close()
	refused(bare)
	if _, _, err := bare.ReadFrom(make([]byte, 1452)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("the kernel says %v, want that a datagram was refused", err)
	}
	conn := reporting()
	client, server := onLoopback(t, conn)
	s := client.connect(server)
	for range 50 {
		refused(conn)
		mustEcho(t, s)
	}
	if s.ended() {
		t.Errorf("the connection has ended: %v", s.lost(nil, false))
	}
}

// TestASocketThatTellsMoreThanThereIsRoomFor uses a socket with options, as a user may provide, that make the kernel send more
// control messages with each datagram than fit, so that they are cut off somewhere. quic-go ends all connections if it
// cannot parse them.
func TestASocketThatTellsMoreThanThereIsRoomFor(t *testing.T) {
	for name, options := range map[string][][3]int{
		"a time":         {{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}},
		"and a TTL":      {{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}, {unix.IPPROTO_IP, unix.IP_RECVTTL, 1}},
		"and a mark":     {{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}, {unix.IPPROTO_IP, unix.IP_RECVTTL, 1}, {unix.SOL_SOCKET, unix.SO_RCVMARK, 1}},
		"and an address": {{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}, {unix.IPPROTO_IP, unix.IP_RECVTTL, 1}, {unix.SOL_SOCKET, unix.SO_RCVMARK, 1}, {unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4zero})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range options {
				setOption(t, conn, o[0], o[1], o[2])
			}
			client, server := onLoopback(t, conn)
			s := client.connect(server)
			for range 20 {
				mustEcho(t, s)
			}
		})
	}
}
