package transport

import (
	"errors"
	"log/slog"
	"net"
	"testing"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// TestAReportOnAnotherDatagramEndsNoConnection: with IP_RECVERR, which a socket of the user's may have, the kernel makes the
// next read or write fail when a datagram was refused, whoever that was sent to.
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
		if err := reportErrors(conn); err != nil {
			t.Fatal(err)
		}
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
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}}
	system, ok := systemSocket(bare).(*udpConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	if _, err := system.ReadBatch(ms, 0); !errors.Is(err, unix.ECONNREFUSED) {
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

// TestAnErrorOfSegmentsIsForQUIC, which sends one packet at a time then. Without segments it would cut what it sends into
// parts of no bytes, for ever.
func TestAnErrorOfSegmentsIsForQUIC(t *testing.T) {
	segments := control(unix.IPPROTO_UDP, unix.UDP_SEGMENT, []byte{0xb0, 4})
	ecn := control(unix.IPPROTO_IP, unix.IP_TOS, []byte{2, 0, 0, 0})
	for _, test := range []struct {
		name string
		oob  []byte
		want error
	}{{"none", nil, nil}, {"ECN", ecn, nil}, {"segments", segments, unix.EIO}, {"both", append(ecn, segments...), unix.EIO}} {
		s := &sturdy{log: slog.New(slog.DiscardHandler)}
		if err := s.resend([]byte{0x40}, test.oob, &net.UDPAddr{}, unix.EIO, func() error { return unix.EIO }); !errors.Is(err, test.want) {
			t.Errorf("%s: quic-go is told %v, want %v", test.name, err, test.want)
		}
	}
}
