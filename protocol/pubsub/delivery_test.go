package pubsub

import (
	"bytes"
	"testing"
	"time"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
	"github.com/linkmesh/link/protocol/pubsub/internal/receive"
)

type blob struct{ Payload []byte }

// frameOf returns the records of n messages whose payloads hold size bytes.
func frameOf(tb testing.TB, n, size int, pairs []journal.Pair) []byte {
	tb.Helper()
	now := time.Now()
	log, err := journal.New(journal.Options{Epoch: 1}, now)
	if err != nil {
		tb.Fatal(err)
	}
	cursor, err := log.Subscribe(journal.Subscription{Patterns: []string{"t"}, Class: journal.Reliable}, now)
	if err != nil {
		tb.Fatal(err)
	}
	payload, err := codec.CBOR().Append(nil, &blob{make([]byte, size)})
	if err != nil {
		tb.Fatal(err)
	}
	for range n {
		if _, err := log.Append(journal.Message{Topic: "t", Headers: pairs, Payload: payload}, now); err != nil {
			tb.Fatal(err)
		}
	}
	body, got, _, err := cursor.Fill(nil, 8<<20, n, now)
	if err != nil || got != n {
		tb.Fatalf("%d of %d messages, %v", got, n, err)
	}
	return body
}

// received returns a subscription, and the inbox that it reads.
func received() (*Subscription[blob], *receive.Loose) {
	box := receive.NewLoose("t")
	return &Subscription[blob]{box: box.Inbox, codec: codec.CBOR()}, box
}

// TestADeliveryAllocatesItsPayload checks that a delivery makes one allocation, in the codec,
// whatever the size of its payload.
func TestADeliveryAllocatesItsPayload(t *testing.T) {
	const n, most = 64, 1.1
	for _, size := range []int{16, 64, 1 << 10, 32 << 10} {
		s, box := received()
		body := frameOf(t, n, size, nil)
		got := 0
		allocs := testing.AllocsPerRun(100, func() {
			box.Fill(body, nil)
			for m := range s.Messages() {
				if m.Err != nil || m.Gap != nil || len(m.Value.Payload) != size {
					t.Fatalf("%+v", m)
				}
				got++
			}
		})
		if got != 101*n {
			t.Fatalf("%d bytes: %d messages, want %d", size, got, 101*n)
		}
		if per := allocs / n; per > most {
			t.Errorf("%d bytes: %.2f allocations per message, want %.1f", size, per, most)
		} else {
			t.Logf("%d bytes: %.2f allocations per message", size, per)
		}
	}
}

// TestAFrameIsUsedAgainUnlessMessagesReferToIt checks that the buffer of a frame is reused unless
// its messages have headers, which refer to it, and that messages outlive the reuse.
func TestAFrameIsUsedAgainUnlessMessagesReferToIt(t *testing.T) {
	for _, pairs := range [][]journal.Pair{nil, {{Name: "h", Value: "v"}}} {
		s, box := received()
		reused := 0
		box.Fill(frameOf(t, 3, 16, pairs), func(body []byte) {
			reused++
			for i := range body {
				body[i] = 0xff
			}
		})
		var got []Message[blob]
		for m := range s.Messages() {
			got = append(got, m)
		}
		if want := 1 - len(pairs); reused != want || len(got) != 3 {
			t.Errorf("with %d headers the frame of %d messages was used again %d times, want %d", len(pairs), len(got), reused, want)
		}
		for _, m := range got {
			if m.Topic != "t" || !bytes.Equal(m.Value.Payload, make([]byte, 16)) || len(pairs) > 0 && m.Header("h") != "v" {
				t.Errorf("got %+v with the header %q", m, m.Header("h"))
			}
		}
	}
}

// BenchmarkYield measures the cost of a message of 64 bytes from its frame to the subscriber's loop.
func BenchmarkYield(b *testing.B) {
	const n = 512
	s, box := received()
	body := frameOf(b, n, 64, nil)
	b.ReportAllocs()
	got := 0
	for b.Loop() {
		box.Fill(body, nil)
		for m := range s.Messages() {
			got += len(m.Value.Payload)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(got/64), "ns/message")
}
