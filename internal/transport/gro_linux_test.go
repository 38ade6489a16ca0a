package transport

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// control returns a control message.
func control(level, kind int32, body []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(body)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(body)))
	copy(b[unix.CmsgSpace(0):], body)
	return b
}

func TestSegmentSizeIsCutOut(t *testing.T) {
	tos := control(unix.IPPROTO_IP, unix.IP_TOS, []byte{2})
	size := control(unix.IPPROTO_UDP, unix.UDP_GRO, binary.NativeEndian.AppendUint32(nil, 1452))
	for _, test := range []struct {
		name     string
		oob      []byte
		want     []byte
		wantSize int
	}{
		{"nothing", nil, nil, 0},
		{"no size", tos, tos, 0},
		{"only the size", size, nil, 1452},
		{"size first", append(bytes.Clone(size), tos...), tos, 1452},
		{"size last", append(bytes.Clone(tos), size...), tos, 1452},
		{"cut off", tos[:5], tos[:5], 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			oob := append(bytes.Clone(test.oob), make([]byte, 16)...)
			n, got := cutSegmentSize(oob, len(test.oob))
			if !bytes.Equal(oob[:n], test.want) || got != test.wantSize {
				t.Errorf("left % x, size %d, want % x and %d", oob[:n], got, test.want, test.wantSize)
			}
		})
	}
}

// TestDatagramsThatTheKernelMergesComeOneByOne sends with one system call what
// arrives as one datagram, beside single ones, and reads in batches of several sizes.
func TestDatagramsThatTheKernelMergesComeOneByOne(t *testing.T) {
	for _, batch := range []int{1, 3, groBatch} {
		in := loopback(t)
		conn, ok := receiveOffload(in).(*groConn)
		if !ok {
			t.Fatal("the kernel offers no UDP_GRO")
		}
		out := loopback(t)
		to := netip.MustParseAddrPort(in.LocalAddr().String())
		var want [][]byte
		send := func(size, length int) {
			b := make([]byte, length)
			for i := range b {
				b[i] = byte(len(want) + i/size)
			}
			oob := control(unix.IPPROTO_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, uint16(size)))
			if length <= size {
				oob = nil
			}
			if _, _, err := out.WriteMsgUDPAddrPort(b, oob, to); err != nil {
				t.Fatal(err)
			}
			for part := range slices.Chunk(b, size) {
				want = append(want, part)
			}
		}
		send(1200, 1200)
		send(1452, 14*1452+7)
		send(9, 9)
		send(100, 300)
		for range 20 {
			send(1000, 50)
		}

		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		ms := make([]ipv4.Message, batch)
		for i := range ms {
			ms[i] = ipv4.Message{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}
		}
		for i := 0; i < len(want); {
			n, err := conn.ReadBatch(ms, 0)
			if err != nil || n == 0 {
				t.Fatalf("batches of %d: %d datagrams, %v, after %d of %d", batch, n, err, i, len(want))
			}
			for _, m := range ms[:n] {
				if got := m.Buffers[0][:m.N]; !bytes.Equal(got, want[i]) {
					t.Fatalf("batches of %d: datagram %d has %d bytes from %x, want %d from %x", batch, i, len(got), got[:1], len(want[i]), want[i][:1])
				}
				if m.Addr.String() != out.LocalAddr().String() {
					t.Fatalf("datagram %d is from %v, want %v", i, m.Addr, out.LocalAddr())
				}
				i++
			}
		}
	}
}

func loopback(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestDatagramsHaveTheirSender whichever way they are read, of several senders in turn.
func TestDatagramsHaveTheirSender(t *testing.T) {
	in := loopback(t)
	conn, ok := receiveOffload(in).(*groConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	senders := []*net.UDPConn{loopback(t), loopback(t), loopback(t)}
	to := netip.MustParseAddrPort(in.LocalAddr().String())
	ms := make([]ipv4.Message, 1)
	ms[0] = ipv4.Message{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}
	for round, sent := 0, 0; round < 3*groAlone; round++ {
		queued := 1 + round%(2*groBatch) // so that reads find one, and more
		for i := range queued {
			if _, err := senders[(sent+i)/2%len(senders)].WriteToUDPAddrPort([]byte{byte(sent + i)}, to); err != nil {
				t.Fatal(err)
			}
		}
		for range queued {
			n, err := conn.ReadBatch(ms, 0)
			if n != 1 || err != nil {
				t.Fatal(n, err)
			}
			want := senders[sent/2%len(senders)].LocalAddr().String()
			if m := ms[0]; m.N != 1 || m.Buffers[0][0] != byte(sent) || m.Addr.String() != want {
				t.Fatalf("datagram %d is % x from %v, want it from %v", sent, m.Buffers[0][:m.N], m.Addr, want)
			}
			sent++
		}
	}
}

// TestOneDatagramAllocatesNothing if its sender was the last one too.
func TestOneDatagramAllocatesNothing(t *testing.T) {
	in, out := loopback(t), loopback(t)
	conn, ok := receiveOffload(in).(*groConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	to := netip.MustParseAddrPort(in.LocalAddr().String())
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}}
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := out.WriteToUDPAddrPort([]byte("x"), to); err != nil {
			t.Fatal(err)
		}
		conn.alone = 0
		if n, err := conn.ReadBatch(ms, 0); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
