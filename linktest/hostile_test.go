package linktest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/mtls"
	"github.com/linkmesh/link/internal/wire"
)

// feed is the stream that the hostile peer opens.
var feed = link.Route{Service: "orders", Name: "feed", Kind: link.KindChannel}

// hostile dials srv with a valid identity and returns the connection, on which a test may write anything.
func hostile(t *testing.T, m *Mesh, srv *link.Node) *quic.Conn {
	t.Helper()
	return hostileAs(t, m, srv, mtls.Client(m.CA().Source("mallory"), srv.Identity(), mtls.Protocol))
}

// hostileAs is like hostile, with the identity of conf.
func hostileAs(t *testing.T, m *Mesh, srv *link.Node, conf *tls.Config) *quic.Conn {
	t.Helper()
	conn, _ := m.network.listen()
	transport := &quic.Transport{Conn: conn}
	addr, err := net.ResolveUDPAddr("udp", srv.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c, err := transport.Dial(t.Context(), addr, conf, &quic.Config{
		EnableStreamResetPartialDelivery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.CloseWithError(0, ""), transport.Close(), conn.Close()); err != nil {
			t.Error(err)
		}
	})
	control, err := c.OpenUniStream()
	if err != nil {
		t.Fatal(err)
	}
	b := wire.AppendVarint(nil, uint64(wire.StreamControl))
	if _, err := control.Write(wire.AppendSetup(b, &wire.Setup{Version: 1, MaxMessage: 1 << 20})); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCreditThatNobodyGranted sends credited frames beyond what the handler
// granted, which no link node does.
func TestCreditThatNobodyGranted(t *testing.T) {
	for _, tt := range []struct {
		name string
		// messages and bytes are the granted credit.
		messages, bytes int
		// fit is the number of frames within the credit, and size the size of each frame.
		fit, size int
	}{
		{"none at all", 0, 0, 0, 0},
		{"one frame too many", 3, 1000, 3, 10},
		{"one byte too many", 100, 29, 2, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mesh := NewMesh(t)
				srv := mesh.Node(link.Config{Service: "orders"})
				got, ended := 0, make(chan error, 1)
				link.HostOf(srv).Handle(feed, func(_ context.Context, s *link.Stream) error {
					if err := s.Grant(tt.messages, tt.bytes); err != nil {
						t.Error(err)
					}
					for {
						if _, err := s.Recv(); err != nil {
							ended <- err
							return err
						}
						got++
					}
				})
				mesh.Start(srv)
				stream, err := hostile(t, mesh, srv).OpenStream()
				if err != nil {
					t.Fatal(err)
				}
				b := wire.AppendVarint(nil, uint64(wire.StreamCall))
				b = wire.AppendHeaders(b, &wire.Headers{Route: feed.Name, RouteKind: uint64(feed.Kind), Timeout: wire.MaxVarint})
				if _, err := stream.Write(b); err != nil {
					t.Fatal(err)
				}
				// Wait until the credit is granted.
				synctest.Wait()
				frame := wire.AppendFrameHeader(nil, wire.FrameHeader{Kind: wire.KindPattern, Flags: wire.FlagCredited, Length: uint64(tt.size)})
				frame = append(frame, make([]byte, tt.size)...)
				for range tt.fit {
					if _, err := stream.Write(frame); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				select {
				case err := <-ended:
					t.Fatalf("frames within the credit ended the stream: %v", err)
				default:
				}
				if _, err := stream.Write(frame); err != nil {
					t.Fatal(err)
				}
				if err := <-ended; errors.Is(err, io.EOF) {
					t.Error("to the handler the stream ended well")
				}
				if got != tt.fit {
					t.Errorf("the handler got %d frames, want %d", got, tt.fit)
				}
				_, err = io.Copy(io.Discard, stream)
				var end *quic.ApplicationError
				if !errors.As(err, &end) || !end.Remote || end.ErrorCode != quic.ApplicationErrorCode(wire.CodeLimit) {
					t.Errorf("the stream ended with %v, want the end of the connection, with LIMIT", err)
				}
			})
		})
	}
}

// TestACodecThatTheServerDoesNotRead sends a call in a codec that the server does not read, which no link node does, and
// expects middleware to see the error.
func TestACodecThatTheServerDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := NewMesh(t)
		seen := make(chan link.Code, 1)
		srv := mesh.Node(link.Config{Service: "orders", ServerMiddleware: []link.Middleware{func(next link.Next) link.Next {
			return func(ctx context.Context, op *link.Operation) error {
				err := next(ctx, op)
				seen <- link.CodeOf(err)
				return err
			}
		}}})
		link.HostOf(srv).HandleCall(link.Route{Service: "orders", Name: "get"}, link.CallHandler{
			New:   func() any { return new(string) },
			Serve: func(context.Context, any) (any, error) { t.Error("the handler ran"); return "", nil },
		})
		mesh.Start(srv)
		stream, err := hostile(t, mesh, srv).OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		b := wire.AppendVarint(nil, uint64(wire.StreamCall))
		b = wire.AppendHeaders(b, &wire.Headers{Route: "get", Timeout: 1e7, Codec: 200})
		b = append(wire.AppendFrameHeader(b, wire.FrameHeader{Kind: wire.KindData, Length: 1}), 'x')
		if _, err := stream.Write(b); err != nil {
			t.Fatal(err)
		}
		reply, err := io.ReadAll(stream)
		if err != nil {
			t.Fatal(err)
		}
		h, n, err := wire.ParseFrameHeader(reply)
		if err != nil || h.Kind != wire.KindStatus {
			t.Fatalf("the reply begins with a frame of kind %#x, %v; want STATUS", h.Kind, err)
		}
		if status, err := wire.ParseStatus(reply[n:]); err != nil || status.Code != uint64(link.Unimplemented) || <-seen != link.Unimplemented {
			t.Errorf("status %+v, %v; want Unimplemented, for middleware too", status, err)
		}
	})
}

// TestACodecThatTheServerDoesNotSpeak calls in codec 9, which no link node does unless the server has announced it. The
// reply names the codec that the server speaks, the handler does not run, and the stream goes on.
func TestACodecThatTheServerDoesNotSpeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := NewMesh(t)
		srv := mesh.Node(link.Config{Service: "orders"})
		var ran atomic.Int64
		link.HostOf(srv).HandleCall(link.Route{Service: "orders", Name: "get"}, link.CallHandler{
			New:   func() any { return new(string) },
			Serve: func(context.Context, any) (any, error) { ran.Add(1); return new("ok"), nil },
		})
		mesh.Start(srv)
		stream, err := hostile(t, mesh, srv).OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b := wire.AppendVarint(nil, uint64(wire.StreamCalls))
		for _, codec := range []uint64{9, 0} {
			// Reset ran before the call is sent: the handler may run before Write returns.
			ran.Store(0)
			b = wire.AppendHeaders(b, &wire.Headers{Route: "get", Timeout: 1 << 30, Codec: codec})
			var body int
			b, body = wire.BeginFrame(b, wire.KindData, 0)
			b = append(b, 0x61, 'q')
			if err := wire.EndFrame(b, body); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Write(b); err != nil {
				t.Fatal(err)
			}
			b = b[:0]
			var status wire.Status
			for status.Code = 99; status.Code == 99; {
				h, body := nextFrame(t, stream)
				if h.Kind == wire.KindStatus {
					if status, err = wire.ParseStatus(body); err != nil {
						t.Fatal(err)
					}
				}
			}
			want := map[uint64]link.Code{9: link.Unimplemented, 0: link.OK}[codec]
			if link.Code(status.Code) != want || (ran.Load() == 1) != (codec == 0) {
				t.Errorf("codec %d: %+v, the handler ran %d times; want %v", codec, status, ran.Load(), want)
			}
			if codec == 9 && status.Message != "this node does not read codec 9; it reads cbor (0)" {
				t.Errorf("the message is %q", status.Message)
			}
		}
	})
}

// nextFrame reads one frame.
func nextFrame(t *testing.T, r io.Reader) (wire.FrameHeader, []byte) {
	t.Helper()
	var head []byte
	for {
		var one [1]byte
		if _, err := io.ReadFull(r, one[:]); err != nil {
			t.Fatal(err)
		}
		head = append(head, one[0])
		if h, _, err := wire.ParseFrameHeader(head); err == nil {
			body := make([]byte, h.Length)
			if _, err := io.ReadFull(r, body); err != nil {
				t.Fatal(err)
			}
			return h, body
		}
	}
}
