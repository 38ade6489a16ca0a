package link_test

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/reqrep"
	"github.com/linkmesh/link/security"
)

type echoMessage struct{ Payload []byte }

var echo = reqrep.NewMethod[echoMessage, echoMessage]("echo", "echo", link.Unsafe)

// pair starts an echo server and a client on loopback.
func pair(tb testing.TB) *link.Node {
	tb.Helper()
	tb.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	registry, err := static.New()
	if err != nil {
		tb.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	server, err := link.New(link.Config{Service: "echo", Addr: "127.0.0.1:0", Registry: registry, Logger: logger})
	if err != nil {
		tb.Fatal(err)
	}
	reqrep.Handle(server, echo, func(_ context.Context, m echoMessage) (echoMessage, error) { return m, nil })
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- server.Run(ctx) }()
	<-server.Ready()
	client, err := link.New(link.Config{Registry: registry, Addr: "127.0.0.1:0", Logger: logger})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			tb.Error(err)
		}
		cancel()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	return client
}

func echoOnce(tb testing.TB, client *link.Node, m echoMessage) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := reqrep.Call(ctx, client, echo, m, link.Meta("tenant", "acme"), link.Meta("request", "0b6f3a52")); err != nil {
		tb.Error(err)
	}
}

func benchmarkCall(b *testing.B, size, concurrency int) {
	b.Helper()
	client := pair(b)
	m := echoMessage{make([]byte, size)}
	echoOnce(b, client, m)
	b.SetBytes(int64(2 * size))
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range concurrency {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				echoOnce(b, client, m)
			}
		})
	}
	wg.Wait()
}

func BenchmarkCall64B1(b *testing.B)   { benchmarkCall(b, 64, 1) }
func BenchmarkCall64B64(b *testing.B)  { benchmarkCall(b, 64, 64) }
func BenchmarkCall64B256(b *testing.B) { benchmarkCall(b, 64, 256) }
func BenchmarkCall1MiB1(b *testing.B)  { benchmarkCall(b, 1<<20, 1) }
func BenchmarkCall1MiB16(b *testing.B) { benchmarkCall(b, 1<<20, 16) }

// BenchmarkIdleConnection measures what an idle connection holds: many client
// nodes, each connected to one server by a call, at rest. Both ends live in this
// process; B/conn is the sum of the two.
func BenchmarkIdleConnection(b *testing.B) {
	const clients = 200
	b.Setenv("LINK_CLUSTER_SECRET", security.NewSecret())
	registry, err := static.New()
	if err != nil {
		b.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	server, err := link.New(link.Config{Service: "echo", Addr: "127.0.0.1:0", Registry: registry, Logger: logger})
	if err != nil {
		b.Fatal(err)
	}
	reqrep.Handle(server, echo, func(_ context.Context, m echoMessage) (echoMessage, error) { return m, nil })
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { served <- server.Run(ctx) }()
	<-server.Ready()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			b.Error(err)
		}
	}()
	for b.Loop() {
		nodes := make([]*link.Node, clients)
		before := inUse()
		for i := range nodes {
			if nodes[i], err = link.New(link.Config{Registry: registry, Addr: "127.0.0.1:0", Logger: logger}); err != nil {
				b.Fatal(err)
			}
			echoOnce(b, nodes[i], echoMessage{[]byte("hello")})
		}
		after := inUse()
		b.ReportMetric(float64(after-before)/clients, "B/conn")
		for _, n := range nodes {
			if err := n.Close(); err != nil {
				b.Error(err)
			}
		}
	}
}

// inUse returns the bytes of live objects and of goroutine stacks.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
