package transport

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/mtls" //nolint:depguard // as in network_test.go
	"github.com/linkmesh/link/internal/race"
	"github.com/linkmesh/link/internal/securitytest"
	"github.com/linkmesh/link/internal/wire"
	"github.com/linkmesh/link/security" //nolint:depguard // as in network_test.go
)

// answering is a minimal handler that echoes the message of each call.
type answering struct{}

func (answering) Find(*Session, *wire.HeadersView) Route { return Route{} }

func (answering) Authorize(*Session, *Route) *wire.Status { return nil }
func (answering) ServeStream(*Stream)                     {}
func (answering) ServeCall(c *Call) {
	c.Reply = append(wire.AppendFrameHeader(c.Reply, wire.FrameHeader{Kind: wire.KindData, Length: uint64(len(c.Message))}), c.Message...)
	c.Reply = wire.AppendOK(c.Reply, c.StatusFlags())
}

// overLoopback returns a session between two endpoints on real sockets.
func overLoopback(tb testing.TB) *Session {
	tb.Helper()
	ca := securitytest.NewCA(tb, trustDomain)
	server, client := ca.Source("orders"), ca.Source("web")
	start := func(source security.Source) *Endpoint {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		e, err := New(Config{
			Conn:      conn,
			ServerTLS: func(protocol string) *tls.Config { return mtls.Server(source, protocol) },
			Identify:  identify,
			Setup:     func() (wire.Setup, []wire.RouteInfo) { return setupOf(Limits{}), nil },
			Handler:   answering{},
			Logger:    slog.New(slog.DiscardHandler),
		})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			if err := e.Close(); err != nil {
				tb.Errorf("closing: %v", err)
			}
		})
		return e
	}
	there, here := start(server), start(client)
	if err := there.Listen(); err != nil {
		tb.Fatal(err)
	}
	p := here.Peer("orders", there.Addr().String(), PeerConfig{TLS: func() *tls.Config { return mtls.Client(client, server.ID(), mtls.Protocol) }})
	tb.Cleanup(p.Release)
	s, err := p.Session(context.Background(), ClassCalls)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// maxAllocs is how many allocations a small call may make, on both sides together. It is slightly
// more than quic-go and net make for the packets of a call, which was 14 when this was written;
// our own code makes none.
const maxAllocs = 16

func TestSmallCallAllocatesNothingOfItsOwn(t *testing.T) {
	if race.Enabled {
		t.Log("the race detector allocates; only that calls work is tested")
	}
	s := overLoopback(t)
	frame := data("a message of 64 bytes, as in the benchmarks of the design......")
	h := wire.Headers{RouteID: 0}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	one := func() {
		now := time.Now()
		var reply Reply
		err := s.Call(ctx, now, now.Add(10*time.Second), &h, frame, &reply)
		if err != nil {
			t.Fatal(err)
		}
		if reply.Status.Code != 0 || len(reply.Message) == 0 {
			t.Fatalf("reply: %+v", reply)
		}
		reply.Release()
	}
	for range 200 {
		one()
	}
	if got := testing.AllocsPerRun(2000, one); got > maxAllocs && !race.Enabled {
		t.Errorf("a call allocates %v times, want %d at most", got, maxAllocs)
	} else {
		t.Logf("a call allocates %v times", got)
	}
}

func BenchmarkCall(b *testing.B) {
	s := overLoopback(b)
	frame := data("a message of 64 bytes, as in the benchmarks of the design......")
	h := wire.Headers{RouteID: 0}
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now()
		var reply Reply
		err := s.Call(context.Background(), now, now.Add(10*time.Second), &h, frame, &reply)
		if err != nil {
			b.Fatal(err)
		}
		reply.Release()
	}
}
