package pubsub_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/pubsub"
)

type small struct{ Payload []byte }

var ticks = pubsub.NewTopic[small]("feed", "ticks")

// BenchmarkDeliver publishes messages of 64 bytes to one subscription, over
// loopback and in one process. An operation is one delivery.
func BenchmarkDeliver(b *testing.B) {
	b.Setenv("LINK_CLUSTER_SECRET", strings.Repeat("s3cret-", 8))
	registry, err := static.New()
	if err != nil {
		b.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	server, err := link.New(link.Config{Service: "feed", Registry: registry, Addr: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	p, err := pubsub.NewPublisher(server, ticks)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	<-server.Ready()
	client, err := link.New(link.Config{Registry: registry, Addr: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	pubsub.AllowBackpressure(server, pubsub.MaxBlock)
	s, err := pubsub.Subscribe(ctx, client, ticks, pubsub.Backpressure(5*time.Second))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		v := small{make([]byte, 64)}
		for range b.N {
			if _, err := p.Publish(ctx, v); err != nil {
				b.Error(err)
			}
		}
	}()
	n := 0
	for m := range s.Messages() {
		if m.Gap != nil {
			b.Fatalf("gap %+v", m.Gap)
		}
		if n++; n == b.N {
			break
		}
	}
	b.StopTimer()
	s.Close()
	cancel()
	if err := client.Close(); err != nil {
		b.Error(err)
	}
	if err := <-ended; err != nil {
		b.Error(err)
	}
	_ = registry.Close()
}
