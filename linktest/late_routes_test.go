package linktest

import (
	"bufio"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security"
)

// lateServer serves nothing, answers each stream with Unimplemented, and announces its routes late, if at all.
func lateServer(t *testing.T, m *Mesh, late time.Duration, routes ...wire.RouteInfo) {
	t.Helper()
	conn, addr := m.network.listen()
	transport := &quic.Transport{Conn: conn}
	source := m.CA().Source("orders")
	listener, err := transport.Listen(security.ServerTLS(source), &quic.Config{EnableStreamResetPartialDelivery: true})
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
		if len(routes) > 0 {
			time.AfterFunc(late, func() { _, _ = control.Write(wire.AppendRoutes(nil, &wire.Routes{Routes: routes})) })
		}
		for err == nil {
			go refuse(stream)
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
func refuse(stream *quic.Stream) {
	defer func() { _ = stream.Close() }()
	in := bufio.NewReader(stream)
	last := wire.KindHeaders // the frame that ends a request
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
			_, _ = stream.Write(wire.AppendStatus(nil, &wire.Status{Code: uint64(link.Unimplemented), Message: "not served"}, flags))
			flags ^= wire.FlagOdd
		}
	}
}

// callLate calls what is not served, and returns the error.
func callLate(ctx context.Context, client *link.Node, r link.Route) error {
	if r.Kind == link.Method {
		return client.Call(ctx, r, "x", new(string))
	}
	stream, err := client.Open(ctx, r)
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

// TestAnErrorThatComesBeforeTheRoutesProposesOne: the answer and the routes come on streams of their own, so either
// may be the first.
func TestAnErrorThatComesBeforeTheRoutesProposesOne(t *testing.T) {
	for _, r := range []link.Route{{Service: "orders", Kind: link.Method, Name: "gett"}, {Service: "orders", Kind: link.Channel, Name: "gett"}} {
		t.Run(r.Kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := NewMesh(t)
				lateServer(t, mesh, 50*time.Millisecond, wire.RouteInfo{Kind: uint64(r.Kind), Name: "get"})
				err := callLate(t.Context(), mesh.Node(link.Config{}), r)
				if link.CodeOf(err) != link.Unimplemented || !strings.Contains(err.Error(), `the nearest name there is "get"`) {
					t.Errorf("%v, want a proposal", err)
				}
			})
		})
	}
}

// TestRoutesThatNeverComeDelayOneError, and no error beyond the deadline of its call.
func TestRoutesThatNeverComeDelayOneError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := NewMesh(t)
		lateServer(t, mesh, 0)
		client := mesh.Node(link.Config{})
		fail := func(patience time.Duration) time.Duration {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			began := time.Now()
			if err := callLate(ctx, client, link.Route{Service: "orders", Kind: link.Method, Name: "gett"}); link.CodeOf(err) != link.Unimplemented {
				t.Error(err)
			}
			return time.Since(began)
		}
		if took := fail(50 * time.Millisecond); took > 50*time.Millisecond {
			t.Errorf("the error of a call that has 50 ms came after %v", took)
		}
		if took := fail(time.Second); took < 100*time.Millisecond || took > 150*time.Millisecond {
			t.Errorf("the first error came after %v, want 100 ms and what the network takes", took)
		}
		if took := fail(time.Second); took >= 50*time.Millisecond {
			t.Errorf("the second error came after %v, want no wait", took)
		}
	})
}
