package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// TestTheReportOnADatagramFailsARead checks what sturdy is for: on a socket with IP_RECVERR, as a user may provide, the
// kernel makes the next read or write fail when a datagram was refused, whatever its destination was.
func TestTheReportOnADatagramFailsARead(t *testing.T) {
	nobody, bare := loopback(t), loopback(t)
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	if err := reportErrors(bare); err != nil {
		t.Fatal(err)
	}
	if _, err := bare.WriteTo([]byte("anybody?"), nobody.LocalAddr()); err != nil && !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatal(err)
	}
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}}
	conn, ok := systemSocket(bare).(*systemConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	if _, err := conn.ReadBatch(ms, 0); !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatalf("the kernel says %v, want that a datagram was refused", err)
	}
}

// TestSegmentsThatADeviceDoesNotTakeAreSentOneByOne checks that segments are sent with all other control messages. quic-go does
// not get the error, which it would record in a data race; it would also cut a packet without segments into parts of zero
// bytes, in an endless loop.
func TestSegmentsThatADeviceDoesNotTakeAreSentOneByOne(t *testing.T) {
	segments := control(unix.IPPROTO_UDP, unix.UDP_SEGMENT, []byte{4, 0})
	if binary.NativeEndian.Uint16([]byte{4, 0}) != 4 {
		segments = control(unix.IPPROTO_UDP, unix.UDP_SEGMENT, []byte{0, 4})
	}
	ecn := control(unix.IPPROTO_IP, unix.IP_TOS, []byte{2, 0, 0, 0})
	packets := []byte("@123@456@7")
	for _, test := range []struct {
		name string
		oob  []byte
		// fail is the error of each write without segments.
		fail error
		want []string
		err  error
	}{
		// A write without segments is repeated once.
		{"ECN alone", ecn, unix.EIO, []string{"@123@456@7"}, nil},
		{"segments", segments, nil, []string{"@123", "@456", "@7"}, nil},
		{"both", slices.Concat(ecn, segments), nil, []string{"@123", "@456", "@7"}, nil},
		{"both, in the other order", slices.Concat(segments, ecn), nil, []string{"@123", "@456", "@7"}, nil},
		{"segments that are too long", segments, unix.EMSGSIZE, []string{"@123", "@456", "@7"}, nil},
		{"segments that cannot be sent", segments, unix.EPERM, []string{"@123", "@123", "@456", "@456", "@7", "@7"}, nil},
		{"a socket that is closed", segments, net.ErrClosed, []string{"@123"}, net.ErrClosed},
	} {
		var wrote []string
		s := &sturdy{log: slog.New(slog.DiscardHandler)}
		err := s.resend(packets, test.oob, &net.UDPAddr{}, unix.EIO, func(b, oob []byte) error {
			wrote = append(wrote, string(b))
			if want, _ := withoutSegments(test.oob); !bytes.Equal(oob, want) {
				t.Errorf("%s: control messages % x, want % x", test.name, oob, want)
			}
			return test.fail
		})
		if !errors.Is(err, test.err) || !slices.Equal(wrote, test.want) {
			t.Errorf("%s: wrote %q, %v; want %q, %v", test.name, wrote, err, test.want, test.err)
		}
	}
}

// TestAReadThatFailsIsMadeAgain checks that a datagram that waits behind the report on another one is read.
func TestAReadThatFailsIsMadeAgain(t *testing.T) {
	nobody, out := loopback(t), loopback(t)
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	in := loopback(t)
	if err := reportErrors(in); err != nil {
		t.Fatal(err)
	}
	conn, ok := New(in, Config{
		Logger: slog.New(slog.DiscardHandler),
		Failed: func(err error) { t.Errorf("the socket has failed: %v", err) },
	}).(*systemConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}}
	for i := range byte(3) {
		if _, err := in.WriteTo([]byte("anybody?"), nobody.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if _, err := out.WriteTo([]byte{i}, in.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.ReadBatch(ms, 0); n != 1 || err != nil || ms[0].N != 1 || ms[0].Buffers[0][0] != i {
			t.Fatalf("datagram %d: %d, %v, % x", i, n, err, ms[0].Buffers[0][:ms[0].N])
		}
		if conn.errs.since.IsZero() {
			t.Fatal("no read has failed")
		}
		conn.errs.since = time.Time{}
	}
	// The end of the endpoint, which sets a deadline, is not a failure of the socket.
	if err := conn.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ReadBatch(ms, 0); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
}

// TestAWriteWaitsForRoom checks that a write for which the kernel has no room goes on once there is some. It uses Unix
// sockets, whose buffers fill here, unlike those of UDP sockets.
func TestAWriteWaitsForRoom(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		defer ends[i].Close()
	}
	unixConn, ok := ends[0].(*net.UnixConn)
	if !ok {
		t.Fatalf("%T is no socket of the family", ends[0])
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 1000)
	w, ok := datagramWrites.New().(*datagramWrite)
	if !ok {
		t.Fatal("no write")
	}
	// The sockets are connected, so there is no address.
	w.msg.Name, w.msg.Namelen = nil, 0
	w.part.Base = &body[0]
	w.part.SetLen(len(body))
	sent := 0
	for full := false; !full; {
		if err := raw.Write(func(fd uintptr) bool {
			full = !w.send(fd)
			return true
		}); err != nil || w.fail != 0 && !full {
			t.Fatalf("after %d datagrams: %v, %v", sent, err, w.fail)
		}
		if sent++; sent > 1<<16 {
			t.Fatal("the socket has room for everything")
		}
	}
	written := make(chan error, 1)
	go func() {
		err := raw.Write(w.call)
		if err == nil && w.fail != 0 {
			err = w.fail
		}
		written <- err
	}()
	b := make([]byte, 2*len(body))
	// sent includes the datagram that found no room.
	for range sent {
		if n, err := ends[1].Read(b); n != len(body) || err != nil {
			t.Fatal(n, err)
		}
	}
	if err := <-written; err != nil || w.n != len(body) {
		t.Errorf("the write that found no room wrote %d bytes, %v", w.n, err)
	}
}
