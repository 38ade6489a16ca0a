package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"

	"github.com/linkmesh/link/internal/udp"
)

// faulty is a socket whose next reads and writes fail with err, as many as reads and writes say. A negative
// number means all.
type faulty struct {
	net.PacketConn

	err           error
	reads, writes atomic.Int64
}

func (f *faulty) fails(left *atomic.Int64, op string) error {
	for n := left.Load(); n != 0; n = left.Load() {
		if n < 0 || left.CompareAndSwap(n, n-1) {
			return &net.OpError{Op: op, Net: "udp", Err: os.NewSyscallError(op, f.err)}
		}
	}
	return nil
}

func (f *faulty) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := f.PacketConn.ReadFrom(b)
	if err == nil {
		err = f.fails(&f.reads, "recvmsg")
	}
	return n, from, err
}

func (f *faulty) WriteTo(b []byte, to net.Addr) (int, error) {
	if err := f.fails(&f.writes, "sendmsg"); err != nil {
		return 0, err
	}
	return f.PacketConn.WriteTo(b, to)
}

// faultyUDP is a faulty socket with control messages.
type faultyUDP struct {
	*net.UDPConn

	faulty *faulty
}

func (f *faultyUDP) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	n, err := ipv4.NewPacketConn(f.UDPConn).ReadBatch(ms, flags)
	if err == nil {
		err = f.faulty.fails(&f.faulty.reads, "recvmsg")
	}
	return n, err
}

func (f *faultyUDP) WriteMsgUDP(b, oob []byte, to *net.UDPAddr) (n, oobn int, err error) {
	if err := f.faulty.fails(&f.faulty.writes, "sendmsg"); err != nil {
		return 0, 0, err
	}
	return f.UDPConn.WriteMsgUDP(b, oob, to)
}

// TestTheSocketHasWhatQUICLooksFor checks that quic-go reads several datagrams at once, and reads and writes control messages:
// if a method that it looks for were missing, it would do without, and say nothing.
func TestTheSocketHasWhatQUICLooksFor(t *testing.T) {
	for name, conn := range map[string]net.PacketConn{
		"of the system":         listener(t, "127.0.0.1:0"),
		"with control messages": &faultyUDP{listener(t, "127.0.0.1:0"), &faulty{}},
	} {
		socket := udp.New(conn, udp.Config{Logger: slog.New(slog.DiscardHandler)})
		if _, ok := socket.(quic.OOBCapablePacketConn); !ok {
			t.Errorf("%s: a %T takes no control messages", name, socket)
		}
		if _, ok := socket.(interface {
			ReadBatch(ms []ipv4.Message, flags int) (int, error)
		}); !ok {
			t.Errorf("%s: a %T reads no batches", name, socket)
		}
	}
}

var socketErrors = []error{
	syscall.ECONNREFUSED, syscall.ENOBUFS, syscall.EPERM, syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENOMEM, syscall.EIO, syscall.EINVAL, errors.New("a socket of the user's"),
}

// eachFault runs test for each error, once for reads and once for writes.
func eachFault(t *testing.T, test func(t *testing.T, socket *faulty, fault *atomic.Int64)) {
	t.Helper()
	for _, err := range socketErrors {
		t.Run("reads: "+err.Error(), func(t *testing.T) {
			socket := &faulty{err: err}
			test(t, socket, &socket.reads)
		})
		t.Run("writes: "+err.Error(), func(t *testing.T) {
			socket := &faulty{err: err}
			test(t, socket, &socket.writes)
		})
	}
}

// manyFaults makes calls while a socket fails twice in a row, because a failed write is repeated once.
func manyFaults(t *testing.T, s *Session, fault *atomic.Int64) {
	t.Helper()
	for range 5 {
		fault.Store(2)
		for fault.Load() > 0 {
			mustEcho(t, s)
		}
	}
	if s.ended() {
		t.Errorf("the connection has ended: %v", s.lost(nil, false))
	}
}

// TestErrorsOfTheSocketEndNoConnection checks that an error of the socket is no more than the loss of a datagram.
func TestErrorsOfTheSocketEndNoConnection(t *testing.T) {
	eachFault(t, func(t *testing.T, socket *faulty, fault *atomic.Int64) {
		t.Helper()
		inWorld(t, func(w *world) {
			server := w.node("orders", Limits{})
			client := w.quiet("web", Limits{}, func(c *Config) { socket.PacketConn, c.Conn = c.Conn, socket })
			manyFaults(w.t, client.connect(server), fault)
		})
	})
}

// TestErrorsOfAUDPSocketEndNoConnection uses sockets to which quic-go passes control messages.
func TestErrorsOfAUDPSocketEndNoConnection(t *testing.T) {
	eachFault(t, func(t *testing.T, socket *faulty, fault *atomic.Int64) {
		t.Helper()
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		client, server := onLoopback(t, &faultyUDP{conn, socket})
		manyFaults(t, client.connect(server), fault)
	})
}

// TestADialThroughADeviceThatFailsEnds checks that EIO ends a dial. quic-go takes EIO for a refusal of segments, even if
// there are none.
func TestADialThroughADeviceThatFailsEnds(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	socket := &faulty{err: syscall.EIO}
	client, server := onLoopback(t, &faultyUDP{conn, socket})
	// A failed write is repeated once. Further writes, of zero bytes, would not fail.
	socket.writes.Store(2)
	_, err = client.peer(server).Session(t.Context(), ClassCalls)
	_ = failure(t, err, ReasonUnreachable)
}

// listener returns a real UDP socket.
func listener(t *testing.T, addr string) *net.UDPConn {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	// Close fails if the test has closed the socket itself.
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// onLoopback returns two nodes with real sockets instead of simulated ones. The client uses conn.
func onLoopback(t *testing.T, conn net.PacketConn) (client, server *node) {
	t.Helper()
	w := newWorld(t)
	with := func(conn net.PacketConn) nodeOption {
		return func(c *Config) {
			_ = c.Conn.Close()
			c.Conn = conn
		}
	}
	at, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return w.quiet("web", Limits{}, with(conn)), w.node("orders", Limits{}, with(at))
}

// TestADialThatCannotSendSaysWhyAtOnce checks also that a dial goes on after an error that may pass.
func TestADialThatCannotSendSaysWhyAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		socket := &faulty{err: syscall.ENETUNREACH}
		client := w.quiet("web", Limits{}, func(c *Config) { socket.PacketConn, c.Conn = c.Conn, socket })
		socket.writes.Store(-1)
		start := time.Now()
		_, err := client.peer(server).Session(t.Context(), ClassCalls)
		if e := failure(t, err, ReasonUnreachable); !strings.Contains(e.Error(), syscall.ENETUNREACH.Error()) || time.Since(start) > latency {
			t.Errorf("%v after %v, want that the network is unreachable, at once", e, time.Since(start))
		}
		socket.err = syscall.ENOBUFS
		socket.writes.Store(2)
		// By then the backoff of the peer is over.
		pass(time.Minute)
		mustEcho(t, client.connect(server))
	})
}

// TestAnErrorOfAnEarlierDatagramIsNotThatOfTheNext checks that the error of another datagram does not end a dial.
func TestAnErrorOfAnEarlierDatagramIsNotThatOfTheNext(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server := w.node("orders", Limits{})
		socket := &faulty{err: syscall.EHOSTUNREACH}
		client := w.quiet("web", Limits{}, func(c *Config) { socket.PacketConn, c.Conn = c.Conn, socket })
		socket.writes.Store(1)
		mustEcho(t, client.connect(server))
	})
}

// TestASocketThatIsBrokenIsSaid checks that an endpoint that can no longer receive reports it, however the socket broke.
func TestASocketThatIsBrokenIsSaid(t *testing.T) {
	for name, test := range map[string]struct {
		broken func(socket *faulty)
		why    string
	}{
		"reads fail for ever":    {func(s *faulty) { s.reads.Store(-1) }, "reading it has failed for 10s"},
		"somebody has closed it": {func(s *faulty) { _ = s.Close() }, "somebody else has closed it"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				socket := &faulty{err: syscall.EBADF}
				server := w.node("orders", Limits{}, func(c *Config) { socket.PacketConn, c.Conn = c.Conn, socket })
				client := w.quiet("web", Limits{})
				mustEcho(t, client.connect(server))
				select {
				case <-server.Failed():
					t.Fatal("a socket that works has failed")
				default:
				}
				test.broken(socket)
				// These dials, which fail, give the server something to read.
				for range 20 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					_, _ = client.peer(server).Session(ctx, ClassCalls)
					cancel()
					pass(time.Second)
				}
				select {
				case <-server.Failed():
				default:
					t.Fatal("it has not failed")
				}
				if err := server.Failure(); err == nil || !strings.Contains(err.Error(), test.why) {
					t.Errorf("it has failed because %v, want that %s", err, test.why)
				}
				if !server.log.contains("level=ERROR", test.why) {
					t.Errorf("the log does not say so: %s", server.log.buf.String())
				}
				_, err := server.peer(client).Session(t.Context(), ClassCalls)
				if e := failure(t, err, ReasonUnreachable); !strings.Contains(e.Error(), test.why) {
					t.Errorf("a dial says %v", e)
				}
			})
		})
	}
}
