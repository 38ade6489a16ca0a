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

// BenchmarkDeliveryAcked publishes 64 bytes to an AtLeastOnce cursor that has other messages
// unacked, and acks each message, one by one or in ranges as a subscriber does.
func BenchmarkDeliveryAcked(b *testing.B) {
	for _, unacked := range []int{0, 900, 60_000} {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("unacked=%d/acks=%d", unacked, batch), func(b *testing.B) { benchmarkAcked(b, unacked, batch) })
		}
	}
}

func benchmarkAcked(b *testing.B, unacked, batch int) {
	b.Helper()
	now := time.Now()
	l, err := journal.New(journal.Options{Epoch: 1}, now)
	if err != nil {
		b.Fatal(err)
	}
	c, err := l.Subscribe(journal.Subscription{
		Patterns: []string{"t"}, Class: journal.AtLeastOnce, Limits: journal.Limits{Messages: 1 << 16, Bytes: journal.MaxWindowBytes},
	}, now)
	if err != nil {
		b.Fatal(err)
	}
	m := journal.Message{Topic: "t", Payload: make([]byte, 64)}
	buf := make([]byte, 0, 64<<10)
	seq := uint64(0)
	send := func() {
		if _, err := l.Append(m, now); err != nil {
			b.Fatal(err)
		}
		seq++
		if seq%uint64(batch) != 0 {
			return
		}
		for more := true; more; {
			if _, _, more, err = c.Fill(buf, cap(buf), 256, now); err != nil {
				b.Fatal(err)
			}
		}
	}
	for range (unacked + batch - 1) / batch * batch {
		send()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if send(); seq%uint64(batch) != 0 {
			continue
		}
		to := seq - uint64(unacked+batch-1)/uint64(batch)*uint64(batch)
		n, err := c.Ack(now, journal.Range{From: to - uint64(batch) + 1, To: to})
		if err != nil || n != batch {
			b.Fatal(n, err)
		}
	}
}
