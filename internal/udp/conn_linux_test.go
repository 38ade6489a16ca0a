package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// TestDatagramsThatTheKernelMergesComeOneByOne sends single datagrams, and several with one system call,
// which arrive as one datagram. It reads in batches of several sizes.
func TestDatagramsThatTheKernelMergesComeOneByOne(t *testing.T) {
	for _, batch := range []int{1, 3, groBatch} {
		in := loopback(t)
		conn, ok := systemSocket(in).(*systemConn)
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
	return udpAt(t, net.IPv4(127, 0, 0, 1))
}

func udpAt(t *testing.T, ip net.IP) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestDatagramsHaveTheirSender has several senders take turns, and reads datagrams alone and several at once.
func TestDatagramsHaveTheirSender(t *testing.T) {
	in := loopback(t)
	conn, ok := systemSocket(in).(*systemConn)
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
		queued := 1 + round%(2*groBatch) // reads find one datagram or more
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

// TestADatagramAllocatesNothing reads datagrams of one sender. A change of the sender does allocate.
func TestADatagramAllocatesNothing(t *testing.T) {
	in, out := loopback(t), loopback(t)
	conn, ok := systemSocket(in).(*systemConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	from, ok := systemSocket(out).(*systemConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(in.LocalAddr().String()))
	oob := control(unix.IPPROTO_IP, unix.IP_TOS, []byte{2, 0, 0, 0})
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}}
	payload := []byte("x")
	allocs := testing.AllocsPerRun(100, func() {
		if n, oobn, err := from.WriteMsgUDP(payload, oob, to); n != 1 || oobn != len(oob) || err != nil {
			t.Fatal(n, oobn, err)
		}
		if n, err := conn.ReadBatch(ms, 0); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// TestDatagramsGoBetweenFamilies sends datagrams both ways between sockets of both families.
func TestDatagramsGoBetweenFamilies(t *testing.T) {
	for _, test := range []struct{ from, to net.IP }{
		{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 1)},
		{net.IPv6loopback, net.IPv6loopback},
		{net.IPv6unspecified, net.IPv6loopback},
		{net.IPv6unspecified, net.IPv4(127, 0, 0, 1)},
	} {
		from, ok := systemSocket(udpAt(t, test.from)).(*systemConn)
		to, too := systemSocket(udpAt(t, test.to)).(*systemConn)
		if !ok || !too {
			t.Fatal("the kernel offers no UDP_GRO")
		}
		addr, _ := to.LocalAddr().(*net.UDPAddr)
		if n, _, err := from.WriteMsgUDP([]byte("there"), nil, addr); n != 5 || err != nil {
			t.Fatalf("%v to %v: %d, %v", test.from, test.to, n, err)
		}
		ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}}
		if err := to.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := to.ReadBatch(ms, 0); n != 1 || err != nil {
			t.Fatalf("%v to %v: %d, %v", test.from, test.to, n, err)
		}
		back, _ := ms[0].Addr.(*net.UDPAddr)
		if n, _, err := to.WriteMsgUDP([]byte("back"), nil, back); n != 4 || err != nil {
			t.Fatalf("%v to %v: answering %v: %d, %v", test.from, test.to, back, n, err)
		}
		if err := from.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, err := from.ReadBatch(ms, 0); n != 1 || err != nil || string(ms[0].Buffers[0][:ms[0].N]) != "back" {
			t.Fatalf("%v to %v: %d, %v", test.from, test.to, n, err)
		}
	}
}

// TestErrorsOfTheSocket checks that errors are like those of package net, because quic-go inspects them.
func TestErrorsOfTheSocket(t *testing.T) {
	conn, ok := systemSocket(loopback(t)).(*systemConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	to, _ := conn.LocalAddr().(*net.UDPAddr)
	_, _, err := conn.WriteMsgUDP(make([]byte, 70000), nil, to)
	var op *net.OpError
	var call *os.SyscallError
	if !errors.Is(err, unix.EMSGSIZE) || !errors.As(err, &op) || op.Op != "write" || !errors.As(err, &call) || call.Syscall != "sendmsg" {
		t.Errorf("too large: %v", err)
	}
	if _, _, err := conn.WriteMsgUDP([]byte("x"), nil, &net.UDPAddr{IP: net.IPv6loopback, Port: to.Port}); err == nil {
		t.Error("IPv4 to IPv6 has no error")
	}
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}}
	if err := conn.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ReadBatch(ms, 0); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ReadBatch(ms, 0); !errors.Is(err, net.ErrClosed) {
		t.Errorf("reading from a closed socket: %v", err)
	}
	if _, _, err := conn.WriteMsgUDP([]byte("x"), nil, to); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing to a closed socket: %v", err)
	}
}

// TestTheMonitorIsStirred checks that the monitor is stirred by the first datagram, and then once in stirEvery.
func TestTheMonitorIsStirred(t *testing.T) {
	in := loopback(t)
	conn, ok := systemSocket(in).(*systemConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}}
	to, _ := conn.LocalAddr().(*net.UDPAddr)
	one := func() {
		t.Helper()
		if _, _, err := conn.WriteMsgUDP([]byte("x"), nil, to); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.ReadBatch(ms, 0); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	stirred := 0
	for until := time.Now().Add(10 * time.Second); stirred < 3 && time.Now().Before(until); {
		if conn.due.Load() {
			one()
			if conn.stir.Stop() {
				conn.stir.Reset(stirEvery)
				stirred++
			}
		}
		one()
	}
	if stirred < 3 {
		t.Errorf("the timer was set %d times in 10 s", stirred)
	}
}

// TestABlockingSocketDoesNotBlock uses a socket whose owner called File().Fd(), which makes the socket itself
// block. A system call that blocks and is not announced stops the garbage collector, and with it the process.
func TestABlockingSocketDoesNotBlock(t *testing.T) {
	in, out := loopback(t), loopback(t)
	file, err := in.File()
	if err != nil {
		t.Fatal(err)
	}
	flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Fatalf("the socket does not block: flags %x, %v", flags, err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	// If the call blocked, a collection would wait for it, and all goroutines for the collection.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	conn, ok := systemSocket(in).(*systemConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}}
	for _, how := range []struct {
		name  string
		due   bool
		alone int
	}{{"announced", true, 0}, {"one", false, 0}, {"many", false, groAlone}} {
		conn.stir.Stop()
		conn.due.Store(how.due)
		conn.alone = how.alone
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := conn.ReadBatch(ms, 0)
			ended <- err
		}()
		select {
		case err = <-ended:
		case <-time.After(3 * time.Second):
			// The read blocks, and only a datagram ends it.
			if _, err := out.WriteTo([]byte("x"), in.LocalAddr()); err != nil {
				t.Fatal(err)
			}
			err = <-ended
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v, want the deadline", how.name, err)
		}
	}
}

// TestTheNameOfAZoneIsLookedUpOnce has link-local peers take turns. A lookup for each datagram would cost
// 35 µs and 15 KiB, and anyone on the link could cause it.
func TestTheNameOfAZoneIsLookedUpOnce(t *testing.T) {
	zone, err := net.InterfaceByIndex(1)
	if err != nil {
		t.Fatal(err)
	}
	conn, ok := systemSocket(loopback(t)).(*systemConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	from := &conn.in[0].from.raw
	from.Family, from.Addr, from.Scope_id = unix.AF_INET6, netip.MustParseAddr("fe80::1").As16(), 1
	allocs := testing.AllocsPerRun(100, func() {
		from.Addr[15] ^= 3
		conn.next = 0
		conn.open()
	})
	if addr, _ := conn.sender.(*net.UDPAddr); addr.Zone != zone.Name {
		t.Errorf("the sender is %v, want zone %s", addr, zone.Name)
	}
	if allocs > 4 {
		t.Errorf("%v allocations", allocs)
	}
}

// TestBuffersAreMadeWhenDatagramsQueue checks that buffers are not made before: an idle socket holds one.
func TestBuffersAreMadeWhenDatagramsQueue(t *testing.T) {
	in, out := loopback(t), loopback(t)
	conn, ok := systemSocket(in).(*systemConn)
	if !ok {
		t.Fatal("the kernel offers no UDP_GRO")
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort(in.LocalAddr().String())
	ms := []ipv4.Message{{Buffers: [][]byte{make([]byte, 1452)}, OOB: make([]byte, groControl)}}
	exchange := func(n int) {
		t.Helper()
		for range n {
			if _, err := out.WriteToUDPAddrPort([]byte("x"), to); err != nil {
				t.Fatal(err)
			}
		}
		for range n {
			if got, err := conn.ReadBatch(ms, 0); got != 1 || err != nil {
				t.Fatal(got, err)
			}
		}
	}
	if conn.room != 1 {
		t.Errorf("%d buffers at first, want 1", conn.room)
	}
	for range 10 * groAlone {
		exchange(1)
	}
	if conn.room != 2 {
		t.Errorf("%d buffers where nothing queues, want 2", conn.room)
	}
	exchange(100)
	if conn.room != groBatch {
		t.Errorf("%d buffers with a queue, want %d", conn.room, groBatch)
	}
}
