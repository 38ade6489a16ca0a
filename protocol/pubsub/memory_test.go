package pubsub_test

import (
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/static"
	"github.com/linkmesh/link/protocol/pubsub"
)

// BenchmarkSubscriptionMemory makes 1,000 subscriptions at one publisher, over loopback
// and in one process, each to a topic of its own, and publishes 10,000 messages of 64
// bytes a second to them in turn. It reports the memory in use per subscription, of both
// sides together: before the first message, while messages are published, and afterward.
func BenchmarkSubscriptionMemory(b *testing.B) {
	const subscriptions, nodes, rate = 1000, 4, 10_000
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
	// One node alone may not have so many subscriptions.
	clients := make([]*link.Node, nodes)
	for i := range clients {
		if clients[i], err = link.New(link.Config{Registry: registry, Addr: "127.0.0.1:0", Logger: quiet}); err != nil {
			b.Fatal(err)
		}
	}
	before := inUse()
	names := make([]pubsub.PublishOption, subscriptions)
	var work sync.WaitGroup
	var got atomic.Int64
	var all []*pubsub.Subscription[small]
	for i := range subscriptions {
		name := "n" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
		names[i] = pubsub.Below(name)
		s, err := pubsub.Subscribe(ctx, clients[i%nodes], pubsub.NewTopic[small]("feed", "ticks."+name), pubsub.Reliable)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, s)
		work.Go(func() {
			for m := range s.Messages() {
				if m.Gap != nil || m.Err != nil {
					b.Errorf("%+v, %v", m.Gap, m.Err)
				}
				got.Add(1)
			}
		})
	}
	idle := inUse()
	sent, most := int64(0), uint64(0)
	// An operation is a second of messages.
	for b.Loop() {
		tick := time.NewTicker(time.Second / 100)
		for range 100 {
			<-tick.C
			for range rate / 100 {
				if _, err := p.Publish(ctx, small{make([]byte, 64)}, names[sent%subscriptions]); err != nil {
					b.Fatal(err)
				}
				sent++
			}
		}
		tick.Stop()
		most = max(most, inUse())
	}
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for got.Load() < sent {
		<-poll.C
	}
	per := func(n uint64) float64 { return (float64(n) - float64(before)) / subscriptions }
	b.ReportMetric(per(idle), "idle-B/sub")
	b.ReportMetric(per(most), "busy-B/sub")
	b.ReportMetric(per(inUse()), "after-B/sub")
	for _, s := range all {
		s.Close()
	}
	work.Wait()
	cancel()
	for _, client := range clients {
		if err := client.Close(); err != nil {
			b.Error(err)
		}
	}
	if err := <-ended; err != nil {
		b.Error(err)
	}
	_ = registry.Close()
}

// inUse returns the bytes of heap and stacks that are in use after a collection.
func inUse() uint64 {
	runtime.GC()
	// The second collection frees what pools held.
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
