package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/transport/carrier"
	"github.com/linkmesh/link/internal/transport/quicconn"
	"github.com/linkmesh/link/internal/wire"
)

// keyed makes a node derive the tokens of its stateless resets from a key.
func keyed(key byte) nodeOption {
	return func(c *Config) { c.ResetKey = &[32]byte{key} }
}

// again closes old as if its process were killed, so that its peers hear nothing, and returns a new
// node at its address. The SETUP of the new node names another instance.
func (w *world) again(old *node, opts ...nodeOption) *node {
	w.t.Helper()
	w.lose(from(old.addr))
	if err := old.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.lose(nil)
	at, err := net.ResolveUDPAddr("udp", old.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.node("orders", Limits{}, append(opts, func(c *Config) {
		_ = c.Conn.Close()
		c.Conn = w.socketAt(at)
		setup := c.Setup
		c.Setup = func() (wire.Setup, []wire.RouteInfo) {
			s, routes := setup()
			s.Instance = "i-2"
			return s, routes
		}
	})...)
}

// TestARestartEndsOldConnections checks that the first packet to a restarted process ends the old
// connection if the process has the same reset key. With another key silence ends it.
func TestARestartEndsOldConnections(t *testing.T) {
	for name, test := range map[string]struct {
		key  byte
		most time.Duration
	}{
		"with its key":     {1, 5 * latency},
		"with another key": {2, time.Second + 500*time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server, client := w.node("orders", Limits{}, keyed(1)), w.quiet("web", Limits{})
				p := client.peer(server)
				s, err := p.Session(t.Context(), ClassCalls)
				if err != nil {
					t.Fatal(err)
				}
				mustEcho(t, s)
				w.again(server, keyed(test.key))
				start := time.Now()
				_, _, err = call(t.Context(), s, "echo", "to the process that is gone")
				e := failure(t, err, ReasonLost)
				if took := time.Since(start); took > test.most {
					t.Errorf("the call ended after %v, want %v at most", took, test.most)
				}
				if test.key == 1 && !strings.Contains(e.Error(), "does not know the connection") {
					t.Errorf("the error does not say why: %v", e)
				}
				s, err = p.Session(t.Context(), ClassCalls)
				if err != nil {
					t.Fatal(err)
				}
				mustEcho(t, s)
			})
		})
	}
}

// TestAConnectionThatIsKnownToBeLostIsNotUsed checks that an error of the connection keeps new calls off it, and that an
// error of one stream does not. QUIC ends the streams of a connection before its context, so the retry of a lost call
// would otherwise meet the same connection; see TestARestartEndsOldConnections.
func TestAConnectionThatIsKnownToBeLostIsNotUsed(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		ends bool
	}{
		"stateless reset":     {&quic.StatelessResetError{}, true},
		"silence":             {&quic.IdleTimeoutError{}, true},
		"closed by the peer":  {&quic.ApplicationError{Remote: true}, true},
		"error of QUIC":       {&quic.TransportError{Remote: true}, true},
		"end of its stream":   {io.ErrUnexpectedEOF, false},
		"reply without end":   {errNoStatus, false},
		"reset of its stream": {&quic.StreamError{Remote: true}, false},
		"slow peer":           {os.ErrDeadlineExceeded, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				t := w.t
				server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
				p := client.peer(server)
				s, err := p.Session(t.Context(), ClassCalls)
				if err != nil {
					t.Fatal(err)
				}
				// An operation on a stream that fails with the error does the same.
				_ = s.streamError(quicconn.Translate(test.err), false)
				next, err := p.Session(t.Context(), ClassCalls)
				if err != nil {
					t.Fatal(err)
				}
				if (next != s) != test.ends {
					t.Errorf("another connection takes the next call: %t, want %t", next != s, test.ends)
				}
				mustEcho(t, next)
				s.close(wire.CodeNone, "test")
			})
		})
	}
}

// TestAnotherInstanceAtTheAddressEndsOldConnections checks that old connections in both directions
// end as soon as the peer is silent, without any reset: a socket belongs to one process.
func TestAnotherInstanceAtTheAddressEndsOldConnections(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.node("web", Limits{})
		p := client.peer(server)
		old, err := p.Session(t.Context(), ClassCalls)
		if err != nil {
			t.Fatal(err)
		}
		back, err := server.peer(client).Session(t.Context(), ClassCalls)
		if err != nil {
			t.Fatal(err)
		}
		mustEcho(t, back)
		settle()
		next := w.again(server)
		if accepted := len(client.acceptedSessions()); accepted != 1 {
			t.Fatalf("%d connections of the process that is gone, want its one", accepted)
		}
		if _, err := p.Session(t.Context(), ClassBulk); err != nil {
			t.Fatal(err)
		}
		if !old.Doubtful() {
			t.Error("the connection to the process that is gone is used")
		}
		// This is less than half of Limits.Silence. Without a hint, a peer is given up only after twice Limits.Silence.
		pass(200 * time.Millisecond)
		if !old.ended() {
			t.Error("the connection to the process that is gone has not ended")
		}
		back, err = next.peer(client).Session(t.Context(), ClassCalls)
		if err != nil {
			t.Fatal(err)
		}
		mustEcho(t, back)
		pass(200 * time.Millisecond)
		if accepted := len(client.acceptedSessions()); accepted != 1 {
			t.Errorf("%d connections from that address, want the one of the process that is there", accepted)
		}
	})
}

// TestSeveralInstancesBehindOneAddressLive checks that connections live on behind a load balancer,
// which gives each of them another process.
func TestSeveralInstancesBehindOneAddressLive(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		var instances atomic.Int64
		setup := func() wire.Setup {
			s := setupOf(Limits{})
			s.Instance = fmt.Sprint("i-", instances.Add(1))
			return s
		}
		server := w.rawServer("orders", servingAs(setup, func(s *rawStream) {
			if _, err := s.request(true); err == nil {
				idle(3 * time.Second)
				s.write(append(data("late"), wire.AppendOK(nil, 0)...))
			}
		}))
		client := w.quiet("web", Limits{})
		p := client.peerAt(server.id, server.addr.String())
		var sessions []*Session
		results := make(chan error, 2)
		for _, class := range []Class{ClassCalls, ClassBulk} {
			s, err := p.Session(t.Context(), class)
			if err != nil {
				t.Fatal(err)
			}
			sessions = append(sessions, s)
			go func() {
				_, _, err := call(t.Context(), s, "late", "")
				results <- err
			}()
			pass(time.Second)
		}
		if n := instances.Load(); n != 2 {
			t.Fatalf("%d instances, want one for each connection", n)
		}
		for range sessions {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		for i, s := range sessions {
			if s.ended() || s.Doubtful() {
				t.Errorf("connection %d to a process that answers has ended, or is in doubt", i)
			}
		}
	})
}

// TestAnInstanceThatARegistryShowsIsExpected checks that a registry that shows another instance is only a hint: new calls
// avoid the connection, and calls on it go on.
func TestAnInstanceThatARegistryShowsIsExpected(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}), w.quiet("web", Limits{})
		p := client.peer(server)
		s, err := p.Session(t.Context(), ClassCalls)
		if err != nil {
			t.Fatal(err)
		}
		p.Expect("i-1")
		// Registries add suffixes to names.
		p.Expect("i-1-again")
		if p.Live(ClassCalls) != s {
			t.Error("the connection to the instance that is expected is not used")
		}
		server.handler.onCall("late", func(c *Call) { idle(5 * time.Second); answer(c, "here") })
		result := make(chan error, 1)
		go func() {
			_, _, err := call(t.Context(), s, "late", "")
			result <- err
		}()
		settle()
		p.Expect("i-2")
		if p.Live(ClassCalls) != nil {
			t.Error("the connection to another instance takes new calls")
		}
		if err := <-result; err != nil {
			t.Errorf("the call on the connection that was there, and answers, failed: %v", err)
		}
	})
}

// TestForgedResetsEndNothing is SEC-341: an attacker that sees the packets of a connection knows its
// IDs, but not the reset tokens, which are derived from a secret.
func TestForgedResetsEndNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		server, client := w.node("orders", Limits{}, keyed(1)), w.quiet("web", Limits{})
		// The forger is a member of the mesh, with a key of its own.
		forger := w.node("mallory", Limits{}, keyed(2))
		s := client.connect(server)
		mustEcho(t, s)
		// The forger gets what the client sends to the server, and answers from the server's address.
		var mu sync.Mutex
		var seen [][]byte
		w.lose(func(p packet) bool {
			mu.Lock()
			defer mu.Unlock()
			if p.To.String() == server.addr && p.Data[0]&0x80 == 0 && len(p.Data) > 40 {
				seen = append(seen, append([]byte(nil), p.Data...))
			}
			return false
		})
		mustEcho(t, s)
		settle()
		w.lose(nil)
		mu.Lock()
		defer mu.Unlock()
		if len(seen) == 0 {
			t.Fatal("saw no packet of the connection")
		}
		resets := 0
		w.mu.Lock()
		toForger, toClient := w.hosts[forger.addr], w.hosts[client.addr]
		w.mu.Unlock()
		w.lose(func(p packet) bool {
			if p.From.String() != forger.addr {
				return false
			}
			resets++
			p.From = server.Addr()
			toClient.RecvPacket(p)
			return true
		})
		for _, b := range seen {
			toForger.RecvPacket(packet{From: client.Addr(), To: forger.Addr(), Data: b})
		}
		settle()
		if resets == 0 {
			t.Fatal("the forger answered with no reset")
		}
		if s.ended() {
			t.Errorf("%d resets with tokens of another key ended the connection: %v", resets, errors.Unwrap(s.lost(nil, false)))
		}
		mustEcho(t, s)
	})
}

// TestAResetAloneDoesNotSayThatTheProcessIsGone checks that a reset does not lead to ErrGone: a live
// process that gave up a silent peer's connection answers with the same resets as a restarted one.
func TestAResetAloneDoesNotSayThatTheProcessIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		t := w.t
		// The client waits so long that it seems frozen to the server.
		server, client := w.node("orders", Limits{}, keyed(1)), w.quiet("web", Limits{Silence: time.Minute})
		running := make(chan error, 1)
		server.handler.onStream("task", func(s *Stream) {
			<-s.Canceled().Done()
			running <- context.Cause(s.Canceled())
		})
		p := client.peer(server)
		s, err := p.Session(t.Context(), ClassCalls)
		if err != nil {
			t.Fatal(err)
		}
		st, err := s.Open(t.Context(), &wire.Headers{Route: "task", Timeout: wire.MaxVarint})
		if err != nil {
			t.Fatal(err)
		}
		settle()
		w.lose(func(packet) bool { return true })
		why := <-running
		// By then the server has forgotten the connection.
		pass(5 * time.Second)
		if len(server.acceptedSessions()) > 0 {
			t.Fatalf("the server has not given its silent client up: %v", why)
		}
		w.lose(nil)
		_, _, err = call(t.Context(), s, "echo", "heard again")
		e := failure(t, err, ReasonLost)
		// The context ends a moment after the streams.
		<-s.conn.Context().Done()
		if end, ok := errors.AsType[*carrier.EndError](s.conn.Cause()); !ok || end.End != carrier.EndForgotten {
			t.Fatalf("the connection ended otherwise: %v", e)
		}
		_, err = st.Recv(t.Context())
		if e, gone := failure(t, err, ReasonLost), errors.Is(err, ErrGone); gone {
			t.Errorf("the process lives, and the stream says: %v", e)
		}
		if errors.Is(e, ErrGone) {
			t.Errorf("the process lives, and the call says: %v", e)
		}
		next, err := p.Session(t.Context(), ClassCalls)
		if err != nil {
			t.Fatal(err)
		}
		mustEcho(t, next)
	})
}
