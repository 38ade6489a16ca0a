package journal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// BenchmarkPublish publishes 64 bytes to a number of cursors, each of which is drained
// in batches of 256 on the same goroutine.
func BenchmarkPublish(b *testing.B) {
	now := time.Now()
	for _, cursors := range []int{0, 1, 4, 32, 1000} {
		b.Run(fmt.Sprintf("cursors=%d", cursors), func(b *testing.B) {
			l, err := journal.New(journal.Options{Epoch: 1}, now)
			if err != nil {
				b.Fatal(err)
			}
			all := make([]*journal.Cursor, cursors)
			for i := range all {
				all[i], err = l.Subscribe(journal.Subscription{Patterns: []string{"orders.>"}}, now)
				if err != nil {
					b.Fatal(err)
				}
			}
			m := journal.Message{Topic: "orders.eu.placed", Payload: make([]byte, 64)}
			buf := make([]byte, 0, 64<<10)
			drain := func() (n int) {
				for _, c := range all {
					for {
						_, k, more, err := c.Fill(buf, cap(buf), 256, now)
						if err != nil {
							b.Fatal(err)
						}
						n += k
						if !more {
							break
						}
					}
				}
				return n
			}
			sent, got := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Append(m, now); err != nil {
					b.Fatal(err)
				}
				if sent++; sent%256 == 0 {
					got += drain()
				}
			}
			if got += drain(); got != sent*cursors {
				b.Fatalf("%d of %d delivered", got, sent*cursors)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(got, 1)), "ns/delivery")
		})
	}
}
