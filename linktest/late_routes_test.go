package linktest

import (
	"bufio"
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/wire"
)

func sleep(d time.Duration) { time.Sleep(d) } //nolint:forbidigo // virtual time

// late is a server that answers each request with a code after a delay, and announces its routes late, if at all.
type late struct {
	code link.Code
	// answer is the delay after a request, and routes the delay of the routes after the first stream.
	answer, routes time.Duration
	announced      []wire.RouteInfo

	requests atomic.Int32
	// addr is set by start.
	addr netip.AddrPort
}

func (l *late) start(t *testing.T, m *Mesh) {
	t.Helper()
	conn, addr := m.network.listen()
	l.addr = addr
	transport := &quic.Transport{Conn: conn}
	source := m.CA().Source("orders")
	listener, err := transport.Listen(mtls.Server(source, mtls.Protocol), &quic.Config{EnableStreamResetPartialDelivery: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(listener.Close(), transport.Close(), conn.Close()); err != nil {
			t.Error(err)
		}
	})
	serve := func(c *quic.Conn) {
		control, err := c.OpenUniStream()
		if err != nil {
			return
		}
		b := wire.AppendVarint(nil, uint64(wire.StreamControl))
		_, _ = control.Write(wire.AppendSetup(b, &wire.Setup{Version: 1, MaxMessage: 1 << 20}))
		stream, err := c.AcceptStream(context.Background())
		if err != nil {
			return
		}
		if len(l.announced) > 0 {
			time.AfterFunc(l.routes, func() { _, _ = control.Write(wire.AppendRoutes(nil, &wire.Routes{Routes: l.announced})) })
		}
		for err == nil {
			go l.refuse(stream)
			stream, err = c.AcceptStream(context.Background())
		}
	}
	go func() {
		for {
			c, err := listener.Accept(context.Background())
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	if _, err := m.Registry().Register(t.Context(), discovery.Instance{ID: "orders-1", Service: "orders", Addr: addr.String()}); err != nil {
		t.Fatal(err)
	}
}

// refuse answers each request of a stream, whose type is one byte.
func (l *late) refuse(stream *quic.Stream) {
	defer func() { _ = stream.Close() }()
	in := bufio.NewReader(stream)
	// last is the kind of the frame that ends a request.
	last := wire.KindHeaders
	if kind, err := in.ReadByte(); err != nil {
		return
	} else if kind == byte(wire.StreamCalls) {
		last = wire.KindData
	}
	for flags := wire.Flags(0); ; {
		head, _ := in.Peek(2)
		h, n, err := wire.ParseFrameHeader(head)
		for size := 3; err != nil && len(head) == size-1; size++ {
			head, _ = in.Peek(size)
			h, n, err = wire.ParseFrameHeader(head)
		}
		if err != nil {
			return
		}
		if _, err := in.Discard(n + int(h.Length)); err != nil {
			return
		}
		if h.Kind == last {
			l.requests.Add(1)
			sleep(l.answer)
			_, _ = stream.Write(wire.AppendStatus(nil, &wire.Status{Code: uint64(l.code), Message: "not served"}, flags))
			flags ^= wire.FlagOdd
		}
	}
}

// callLate calls or opens a route of a late server and returns the error.
func callLate(ctx context.Context, client *link.Node, r link.Route) error {
	if r.Kind == link.KindMethod {
		return link.HostOf(client).Call(ctx, r, "x", new(string))
	}
	stream, err := link.HostOf(client).Open(ctx, r)
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

// TestAnErrorThatComesBeforeTheRoutesProposesOne has the reply arrive before the routes: they come on different streams,
// so either may be the first.
func TestAnErrorThatComesBeforeTheRoutesProposesOne(t *testing.T) {
	for _, r := range []link.Route{{Service: "orders", Kind: link.KindMethod, Name: "gett"}, {Service: "orders", Kind: link.KindChannel, Name: "gett"}} {
		t.Run(r.Kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := NewMesh(t)
				srv := &late{code: link.Unimplemented, routes: 50 * time.Millisecond, announced: []wire.RouteInfo{{Kind: uint64(r.Kind), Name: "get"}}}
				srv.start(t, mesh)
				err := callLate(t.Context(), mesh.Node(link.Config{}), r)
				if link.CodeOf(err) != link.Unimplemented || !strings.Contains(err.Error(), `the nearest name there is "get"`) {
					t.Errorf("%v, want a proposal", err)
				}
			})
		})
	}
}

// TestRoutesThatNeverComeDelayOneError checks that missing routes delay only the first error, and none beyond the
// deadline of its call.
func TestRoutesThatNeverComeDelayOneError(t *testing.T) {
	t.Run("method", func(t *testing.T) { delayOneError(t, link.KindMethod) })
	t.Run("channel", func(t *testing.T) { delayOneError(t, link.KindChannel) })
}

func delayOneError(t *testing.T, kind link.Kind) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		mesh := NewMesh(t)
		(&late{code: link.Unimplemented}).start(t, mesh)
		client := mesh.Node(link.Config{})
		fail := func(patience time.Duration) time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began := time.Now()
			if err := callLate(ctx, client, link.Route{Service: "orders", Kind: kind, Name: "gett"}); link.CodeOf(err) != link.Unimplemented {
				t.Error(err)
			}
			return time.Since(began)
		}
		// The error of a stream waits no matter what its context says.
		if kind == link.KindMethod {
			if took := fail(50 * time.Millisecond); took > 50*time.Millisecond {
				t.Errorf("the error of a call that has 50 ms came after %v", took)
			}
		}
		if took := fail(time.Second); took < 100*time.Millisecond || took > 150*time.Millisecond {
			t.Errorf("the first error came after %v, want 100 ms and what the network takes", took)
		}
		if took := fail(time.Second); took >= 50*time.Millisecond {
			t.Errorf("the second error came after %v, want no wait", took)
		}
	})
}

// TestALevelThatComesAfterTheCallCounts has the first call on a connection, which is sent before the routes arrive, fail.
// The routes are there by then, or come soon, and their level decides whether the call may run twice.
func TestALevelThatComesAfterTheCallCounts(t *testing.T) {
	for i, level := range []link.Idempotency{link.Unsafe, link.Idempotent, link.Unsafe, link.Idempotent} {
		after := time.Duration(i/2) * 50 * time.Millisecond
		t.Run(level.String()+" after "+after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := NewMesh(t)
				srv := &late{code: link.Unavailable, answer: 10 * time.Millisecond, routes: after, announced: []wire.RouteInfo{{Name: "get", Level: uint64(level)}}}
				srv.start(t, mesh)
				err := callLate(t.Context(), mesh.Node(link.Config{}), link.Route{Service: "orders", Kind: link.KindMethod, Name: "get", Level: link.ReadOnly})
				if link.CodeOf(err) != link.Unavailable {
					t.Error(err)
				}
				want := map[link.Idempotency]int32{link.Unsafe: 1, link.Idempotent: 3}[level]
				if n := srv.requests.Load(); n != want {
					t.Errorf("the call was sent %d times, want %d", n, want)
				}
			})
		})
	}
}

// TestACallThatChangesSomethingIsNotMoved makes a call as read-only before the routes arrive, and has its instance fall
// silent while it runs. The call moves to another instance only if the routes say that it is read-only.
func TestACallThatChangesSomethingIsNotMoved(t *testing.T) {
	for _, level := range []link.Idempotency{link.Unsafe, link.ReadOnly} {
		t.Run(level.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := NewMesh(t)
				srv := &late{code: link.Unavailable, answer: 20 * time.Second, routes: 5 * time.Millisecond, announced: []wire.RouteInfo{{Name: "get", Level: uint64(level)}}}
				srv.start(t, mesh)
				client := mesh.Node(link.Config{})
				route := link.Route{Service: "orders", Kind: link.KindMethod, Name: "get", Level: link.ReadOnly}
				ended := make(chan error, 1)
				go func() { ended <- callLate(t.Context(), client, route) }()
				sleep(10 * time.Millisecond)
				if n := srv.requests.Load(); n != 1 {
					t.Fatalf("the call was sent %d times before its instance fell silent", n)
				}
				other := mesh.Node(link.Config{Service: "orders"})
				link.HostOf(other).HandleCall(route, link.CallHandler{New: func() any { return new(string) }, Serve: func(context.Context, any) (any, error) { return "x", nil }})
				mesh.Start(other)
				mesh.network.kill(srv.addr)
				if err := <-ended; (err == nil) != (level == link.ReadOnly) {
					t.Errorf("the call ended with %v; is it to be moved: %t", err, level == link.ReadOnly)
				}
				// The goroutine of the server must end first.
				sleep(srv.answer)
			})
		})
	}
}

// TestAWaitForNamesEndsNoWaitForSizes checks that an error, which waits a moment for the routes, does not end the longer
// wait of a call that is larger than usual.
func TestAWaitForNamesEndsNoWaitForSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := NewMesh(t)
		srv := &late{
			code: link.Unimplemented, routes: 500 * time.Millisecond,
			announced: []wire.RouteInfo{{Name: "put", MaxMessage: 60 << 10}},
		}
		srv.start(t, mesh)
		client := mesh.Node(link.Config{Limits: link.Limits{MaxMessage: 32 << 10}})
		// With the MaxMessage option, the call waits for no size.
		err := link.HostOf(client).Call(t.Context(), link.Route{Service: "orders", Name: "get"}, "x", new(string), link.MaxMessage(1000))
		if link.CodeOf(err) != link.Unimplemented {
			t.Error(err)
		}
		err = link.HostOf(client).Call(t.Context(), link.Route{Service: "orders", Name: "put"}, strings.Repeat("x", 40<<10), new(string))
		if link.CodeOf(err) != link.Unimplemented || srv.requests.Load() != 2 {
			t.Errorf("%v, and %d requests came; want that the large one was sent", err, srv.requests.Load())
		}
	})
}
