package link_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/linktest"
)

// counterRoute is the route of a toy pattern: a counter that subscribers follow. It
// uses only what a pattern outside of this module can use.
var counterRoute = link.Route{Service: "counter", Name: "numbers", Kind: link.KindChannel}

const (
	frameNumber uint8 = 0x40 // counter to subscriber, credited: 8 bytes
	frameText   uint8 = 0x41 // either way: anything
)

// count returns a handler that sends the numbers 1 to n and counts in sent how
// many it could send.
func count(n int, sent *atomic.Int32) link.StreamHandler {
	return func(_ context.Context, s *link.Stream) error {
		for i := range n {
			if err := s.Send(link.Frame{Kind: frameNumber, Credited: true, Body: binary.BigEndian.AppendUint64(nil, uint64(i+1))}); err != nil {
				return err
			}
			sent.Add(1)
		}
		return nil
	}
}

// serveStream starts a counter and returns it with a client.
func serveStream(mesh *linktest.Mesh, cfg link.Config, h link.StreamHandler, opts ...link.HandleOption) (srv, client *link.Node) {
	cfg.Service = counterRoute.Service
	srv = mesh.Node(cfg)
	link.HostOf(srv).Handle(counterRoute, h, opts...)
	mesh.Start(srv)
	return srv, mesh.Node(link.Config{Service: "subscriber"})
}

// open opens a stream that ends with the test.
func open(t *testing.T, client *link.Node, opts ...link.CallOption) *link.Stream {
	t.Helper()
	s, err := link.HostOf(client).Open(t.Context(), counterRoute, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestPatternFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		var sent atomic.Int32
		_, client := serveStream(mesh, link.Config{}, count(1000, &sent))
		s := open(t, client, link.StreamCredit(10, 10*8))
		for want := uint64(1); ; want++ {
			f, err := s.Recv()
			if errors.Is(err, io.EOF) {
				if want != 1001 {
					t.Errorf("the stream ended before number %d", want)
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := binary.BigEndian.Uint64(f.Body); got != want || f.Kind != frameNumber || !f.Credited {
				t.Fatalf("got number %d of kind %d, want %d", got, f.Kind, want)
			}
			if want%5 == 0 {
				if err := s.Grant(5, 5*8); err != nil && want < 990 {
					t.Fatal(err)
				}
			}
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("after the end: %v, want io.EOF again", err)
		}
	})
}

func TestCreditHoldsTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var sent atomic.Int32
		_, client := serveStream(mesh, link.Config{}, count(100, &sent))
		s := open(t, client, link.StreamCredit(3, 1000))
		for _, tt := range []struct {
			messages, bytes int
			want            int32
		}{
			{0, 0, 3},
			{2, 0, 5},
			{0, 1000, 5},
			{1000, 0, (1000 + 1000) / 8},
		} {
			if err := s.Grant(tt.messages, tt.bytes); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := min(tt.want, 100); sent.Load() != got {
				t.Errorf("after Grant(%d, %d) %d are sent, want %d", tt.messages, tt.bytes, sent.Load(), got)
			}
		}
	})
}

func TestGrantsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, client := serveStream(mesh, link.Config{}, func(ctx context.Context, _ *link.Stream) error { <-ctx.Done(); return nil })
		s := open(t, client)
		if err := s.Grant(-1, 0); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("negative credit: %v", err)
		}
		if err := s.Grant(1, 1<<30); !errors.Is(err, link.ResourceExhausted) {
			t.Errorf("credit for 1 GiB: %v, want resource exhausted", err)
		}
		if _, err := link.HostOf(client).Open(t.Context(), counterRoute, link.StreamCredit(1, 1<<30)); !errors.Is(err, link.ResourceExhausted) {
			t.Errorf("opening with credit for 1 GiB: %v, want resource exhausted", err)
		}
		if messages, size := s.Credit(); messages != 0 || size != 0 {
			t.Errorf("the handler granted nothing, but credit is %d, %d", messages, size)
		}
		for _, kind := range []uint8{0, 1, 2, 0x3f, 0x80} {
			if err := s.Send(link.Frame{Kind: kind}); !errors.Is(err, link.InvalidArgument) {
				t.Errorf("a frame of kind %#x: %v, want invalid argument", kind, err)
			}
		}
	})
}

// TestFloodWithoutCreditIsCut sends to a handler that does not receive.
func TestFloodWithoutCreditIsCut(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits link.Limits
		size   int
	}{
		{"frames", link.Limits{Streams: link.StreamLimits{PendingFrames: 100}}, 1},
		{"bytes", link.Limits{Streams: link.StreamLimits{PendingBytes: 10_000}}, 1000},
		{"defaults", link.Limits{}, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := linktest.NewMesh(t)
				ended := make(chan error, 1)
				_, client := serveStream(mesh, link.Config{Limits: tt.limits}, func(ctx context.Context, s *link.Stream) error {
					<-ctx.Done()
					frames := 0
					for {
						if _, err := s.Recv(); err != nil {
							if frames > 1024 {
								t.Errorf("%d frames waited", frames)
							}
							ended <- err
							return err
						}
						frames++
					}
				})
				s := open(t, client)
				var err error
				for range 5000 {
					if err = s.Send(link.Frame{Kind: frameText, Body: make([]byte, tt.size)}); err != nil {
						break
					}
					sleep(time.Microsecond)
				}
				if err == nil {
					t.Fatal("5000 frames without credit were taken")
				}
				if _, rerr := s.Recv(); !errors.Is(err, link.ResourceExhausted) && !errors.Is(rerr, link.ResourceExhausted) {
					t.Errorf("the flood ended with %v, then %v, want resource exhausted", err, rerr)
				}
				if err := <-ended; errors.Is(err, io.EOF) {
					t.Error("to the handler the flood ended well")
				}
			})
		})
	}
}

func TestLargeFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t, linktest.Delay(time.Millisecond))
		_, client := serveStream(mesh, link.Config{}, func(_ context.Context, s *link.Stream) error {
			if err := s.Grant(10, 8<<20); err != nil {
				return err
			}
			for {
				f, err := s.Recv()
				if err != nil {
					return nil //nolint:nilerr // the caller is done
				}
				if err := s.Send(f); err != nil {
					return err
				}
			}
		})
		s := open(t, client, link.StreamCredit(10, 8<<20))
		for _, size := range []int{0, 1200, 64 << 10, 1 << 20, 4 << 20} {
			body := bytes.Repeat([]byte{1, 2, 3, 5, 7}, size/5+1)[:size]
			if err := s.Send(link.Frame{Kind: frameText, Credited: true, Body: body}); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			f, err := s.Recv()
			if err != nil || !bytes.Equal(f.Body, body) {
				t.Fatalf("%d bytes: %v, got %d bytes", size, err, len(f.Body))
			}
		}
		err := s.Send(link.Frame{Kind: frameText, Body: make([]byte, 4<<20+1)})
		if !errors.Is(err, link.ResourceExhausted) || !strings.Contains(err.Error(), "4194305") || !strings.Contains(err.Error(), "4194304") {
			t.Errorf("a frame beyond the limit: %v, want resource exhausted with both numbers", err)
		}
	})
}

func TestStreamThatCannotBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		_, client := serveStream(mesh, link.Config{}, func(context.Context, *link.Stream) error { return nil })
		nobody := link.Route{Service: "nobody", Name: "x", Kind: link.KindChannel}
		if _, err := link.HostOf(client).Open(t.Context(), nobody); !errors.Is(err, link.Unavailable) || !strings.Contains(err.Error(), `"nobody"`) {
			t.Errorf("unknown service: %v, want unavailable", err)
		}
		if _, err := link.HostOf(client).Open(t.Context(), counterRoute, link.Meta("link-x", "")); !errors.Is(err, link.InvalidArgument) {
			t.Errorf("reserved metadata: %v, want invalid argument", err)
		}
		missing := counterRoute
		missing.Name = "letters"
		s, err := link.HostOf(client).Open(t.Context(), missing)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); !errors.Is(err, link.Unimplemented) || !strings.Contains(err.Error(), "letters") {
			t.Errorf("unknown route: %v, want unimplemented", err)
		}
	})
}

func TestStreamKnowsItsCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		var order []string
		note := func(name string) link.Middleware {
			return func(next link.Next) link.Next {
				return func(ctx context.Context, op *link.Operation) error {
					order = append(order, name)
					if op.Client == (op.Stream != nil) || op.Route != counterRoute {
						t.Errorf("%s sees %+v", name, op)
					}
					return next(ctx, op)
				}
			}
		}
		srv, _ := serveStream(mesh, link.Config{ServerMiddleware: []link.Middleware{note("s1"), note("s2")}}, func(ctx context.Context, s *link.Stream) error {
			order = append(order, "handler")
			if link.RouteOf(ctx) != counterRoute || link.MetadataOf(ctx).Get("tenant") != "acme" || link.Caller(ctx).Service() != "client" || s.Context() == nil {
				t.Errorf("the handler sees %v, %v, %v", link.RouteOf(ctx), link.MetadataOf(ctx), link.Caller(ctx))
			}
			return nil
		})
		client := mesh.Node(link.Config{ClientMiddleware: []link.Middleware{note("c1"), note("c2")}})
		s := open(t, client, link.Meta("tenant", "acme"))
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if s.Peer().Instance != srv.Instance() {
			t.Errorf("the peer is %v", s.Peer())
		}
		if diff := cmp.Diff([]string{"c1", "c2", "s1", "s2", "handler"}, order); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestWrongRoutesAndCreditAreSaid checks that wrong routes and credit are errors before anything is sent.
func TestWrongRoutesAndCreditAreSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		route := link.Route{Service: "orders", Name: "watch", Kind: link.KindChannel}
		node := mesh.Node(link.Config{Service: "orders"})
		link.HostOf(node).Handle(route, func(_ context.Context, st *link.Stream) error {
			_, err := st.Recv()
			return err
		})
		mesh.Start(node)
		client := mesh.Node(link.Config{})
		for _, r := range []link.Route{
			{Service: "orders", Name: "get\x1b[2J"}, {Service: "orders", Name: "a b"}, {Service: "orders"}, {Service: "orders", Name: "get", Level: link.ReadOnly + 1},
		} {
			if err := link.HostOf(client).Call(t.Context(), r, nil, nil); !errors.Is(err, link.InvalidArgument) || !strings.Contains(err.Error(), "Route.") {
				t.Errorf("%q, level %d: %v", r.Name, r.Level, err)
			}
		}
		const most = int(^uint(0) >> 1)
		st, err := link.HostOf(client).Open(t.Context(), route)
		if err != nil {
			t.Fatal(err)
		}
		for _, credit := range [][2]int{{-1, 0}, {0, -1}, {most, 1}, {1, most}} {
			if _, err := link.HostOf(client).Open(t.Context(), route, link.StreamCredit(credit[0], credit[1])); !errors.Is(err, link.InvalidArgument) && !errors.Is(err, link.ResourceExhausted) {
				t.Errorf("Open with credit %d: %v", credit, err)
			}
			if err := st.Grant(credit[0], credit[1]); !errors.Is(err, link.InvalidArgument) && !errors.Is(err, link.ResourceExhausted) {
				t.Errorf("Grant of %d: %v", credit, err)
			}
		}
		st.Close()
	})
}
