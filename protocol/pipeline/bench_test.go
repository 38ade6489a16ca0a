package pipeline_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/pipeline"
)

type small struct{ Payload []byte }

var jobs = pipeline.NewStage[small, pipeline.None]("crew", "jobs")

// loopback starts a worker of jobs that does nothing, and returns a client. Both run in
// this process and are connected over loopback.
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
	pipeline.Pull(server, jobs, pipeline.NoResult(func(context.Context, small) error { return nil }))
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

// BenchmarkPush measures 256 callers that push tasks of 64 bytes and wait for each.
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
				if _, err := pipeline.Push(b.Context(), client, jobs, v); err != nil {
					b.Error(err)
				}
			}
		})
	}
	pushes.Wait()
}

// BenchmarkEnqueue measures one caller that enqueues tasks of 64 bytes. An operation is
// one task that is done.
func BenchmarkEnqueue(b *testing.B) {
	client := loopback(b)
	b.ReportAllocs()
	b.ResetTimer()
	v := small{make([]byte, 64)}
	var last *pipeline.Future[pipeline.None]
	for range b.N {
		f, err := pipeline.Enqueue(b.Context(), client, jobs, v)
		if err != nil {
			b.Fatal(err)
		}
		last = f
	}
	if _, err := last.Wait(b.Context()); err != nil {
		b.Error(err)
	}
}

// BenchmarkRecovery measures opening a durable queue of a million tasks of 64 bytes that
// are not done yet. An operation is one opening.
func BenchmarkRecovery(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "queue")
	registry, err := static.New()
	if err != nil {
		b.Fatal(err)
	}
	b.Setenv("LINK_CLUSTER_SECRET", strings.Repeat("s3cret-", 8))
	node, err := link.New(link.Config{Registry: registry, Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	opts := []pipeline.QueueOption{pipeline.Durable(dir), pipeline.Capacity(2_000_000, 4<<30)}
	p, err := pipeline.NewProducer(node, jobs, opts...)
	if err != nil {
		b.Fatal(err)
	}
	const tasks = 1_000_000
	batch := make([]small, 10_000)
	for i := range batch {
		batch[i].Payload = make([]byte, 64)
	}
	for range tasks / len(batch) {
		if _, err := p.EnqueueAll(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := p.Close(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		p, err := pipeline.NewProducer(node, jobs, opts...)
		if err != nil {
			b.Fatal(err)
		}
		if n := p.Stats().Depth; n != tasks {
			b.Fatalf("%d tasks", n)
		}
		b.StopTimer()
		if _, err := p.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.StopTimer()
	_ = node.Close()
	_ = registry.Close()
}
