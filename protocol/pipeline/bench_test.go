package pipeline_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/pipeline"
)

type small struct{ Payload []byte }

var jobs = pipeline.NewStage[small]("crew", "jobs")

// loopback starts a worker of jobs that does nothing, and returns a client; both are
// on loopback and in this process.
func loopback(b *testing.B) *link.Node {
	b.Helper()
	b.Setenv("LINK_CLUSTER_SECRET", strings.Repeat("s3cret-", 8))
	registry, err := static.New()
	if err != nil {
		b.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	server, err := link.New(link.Config{Service: "crew", Registry: registry, Addr: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	pipeline.Pull(server, jobs, func(context.Context, small) error { return nil })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	<-server.Ready()
	client, err := link.New(link.Config{Registry: registry, Addr: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cancel()
		if err := client.Close(); err != nil {
			b.Error(err)
		}
		if err := <-ended; err != nil {
			b.Error(err)
		}
		_ = registry.Close()
	})
	return client
}

// BenchmarkPush has 256 callers that push 64 bytes and wait for each task.
func BenchmarkPush(b *testing.B) {
	client := loopback(b)
	b.ReportAllocs()
	b.ResetTimer()
	var pushes sync.WaitGroup
	const callers = 256
	for i := range callers {
		pushes.Go(func() {
			v := small{make([]byte, 64)}
			for range (b.N + callers - 1 - i) / callers {
				if err := pipeline.Push(b.Context(), client, jobs, v); err != nil {
					b.Error(err)
				}
			}
		})
	}
	pushes.Wait()
}

// BenchmarkEnqueue has one caller that puts tasks of 64 bytes in the queue; an
// operation is one task that is done.
func BenchmarkEnqueue(b *testing.B) {
	client := loopback(b)
	b.ReportAllocs()
	b.ResetTimer()
	v := small{make([]byte, 64)}
	var last *pipeline.Future
	for range b.N {
		f, err := pipeline.Enqueue(b.Context(), client, jobs, v)
		if err != nil {
			b.Fatal(err)
		}
		last = f
	}
	if err := last.Wait(b.Context()); err != nil {
		b.Error(err)
	}
}
