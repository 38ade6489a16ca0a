package udp

import (
	"errors"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
)

// kinds returns the kinds of sockets that New tells apart, each on a UDP socket.
func kinds() map[string]func(conn *net.UDPConn) net.PacketConn {
	return map[string]func(conn *net.UDPConn) net.PacketConn{
		"of the system":         func(conn *net.UDPConn) net.PacketConn { return conn },
		"with control messages": func(conn *net.UDPConn) net.PacketConn { return struct{ *net.UDPConn }{conn} },
		"any":                   func(conn *net.UDPConn) net.PacketConn { return struct{ net.PacketConn }{conn} },
	}
}

// TestWhatIsNotAdmittedIsDropped checks that Admit decides about datagrams with a long header, and about no others.
func TestWhatIsNotAdmittedIsDropped(t *testing.T) {
	for name, kind := range kinds() {
		t.Run(name, func(t *testing.T) {
			in, at := listener(t, "udp", "127.0.0.1:0")
			out, _ := listener(t, "udp", "127.0.0.1:0")
			var asked []string
			conn := New(kind(in), Config{Logger: slog.New(slog.DiscardHandler), Admit: func(datagram []byte, from net.Addr) bool {
				if from.String() != out.LocalAddr().String() {
					t.Errorf("a datagram is from %v, want %v", from, out.LocalAddr())
				}
				asked = append(asked, string(datagram))
				return datagram[1] == 'y'
			}})
			for _, datagram := range []string{"\xc0yes", "\xc0no", "\x40no", "\x80no", "\x80yes", "\x00no"} {
				if _, err := out.WriteToUDPAddrPort([]byte(datagram), at); err != nil {
					t.Fatal(err)
				}
			}
			if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			var got []string
			for len(got) < 4 {
				got = append(got, read(t, conn)...)
			}
			if want := []string{"\xc0yes", "\x40no", "\x80yes", "\x00no"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if want := []string{"\xc0yes", "\xc0no", "\x80no", "\x80yes"}; !slices.Equal(asked, want) {
				t.Errorf("asked about %q, want %q", asked, want)
			}
		})
	}
}

// read returns the next datagram or, if the socket reads in batches, the next ones. It leaves out empty ones, as quic-go
// does.
func read(t *testing.T, conn net.PacketConn) (got []string) {
	t.Helper()
	ms := make([]ipv4.Message, 8)
	for i := range ms {
		ms[i].Buffers, ms[i].OOB = [][]byte{make([]byte, 1500)}, make([]byte, 128)
	}
	n := 1
	var err error
	if b, ok := conn.(batchConn); ok {
		n, err = b.ReadBatch(ms, 0)
	} else {
		ms[0].N, _, err = conn.ReadFrom(ms[0].Buffers[0])
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms[:n] {
		if m.N > 0 {
			got = append(got, string(m.Buffers[0][:m.N]))
		}
	}
	return got
}

// asked is a socket in user space that records the buffer sizes that it is asked for.
type asked struct {
	net.PacketConn

	read, write int
}

func (a *asked) SetReadBuffer(bytes int) error  { a.read = bytes; return nil }
func (a *asked) SetWriteBuffer(bytes int) error { a.write = bytes; return nil }

// TestASocketOfNoKernelIsAskedForBuffers checks sockets in user space, with buffers and without: quic-go complains in
// the standard log about sockets that it cannot ask.
func TestASocketOfNoKernelIsAskedForBuffers(t *testing.T) {
	buffers := func(conn net.PacketConn) error {
		c, ok := New(conn, Config{}).(interface {
			SetReadBuffer(bytes int) error
			SetWriteBuffer(bytes int) error
		})
		if !ok {
			t.Fatalf("the socket of a %T has no buffers", conn)
		}
		return errors.Join(c.SetReadBuffer(1), c.SetWriteBuffer(2))
	}
	socket := &asked{}
	if err := buffers(socket); err != nil || socket.read != 1 || socket.write != 2 {
		t.Errorf("asked for %d and %d bytes, %v", socket.read, socket.write, err)
	}
	if err := buffers(struct{ net.PacketConn }{}); err != nil {
		t.Errorf("a socket without buffers: %v", err)
	}
}
