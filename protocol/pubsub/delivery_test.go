package pubsub

import (
	"bytes"
	"testing"
	"time"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
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

// received returns a subscription and a frame that it has received.
func received(body []byte) (*Subscription[blob], *frames) {
	s := &Subscription[blob]{inbox: &inbox{rules: &rules{}}, codec: codec.CBOR()}
	m := newMember("feed", "feed-1", &subscribe{Patterns: []string{"t"}, Class: uint8(Reliable)}, false)
	c := &conn{member: m, reader: journal.NewReader(journal.ReaderLimits{})}
	return s, &frames{conn: c, body: body}
}

// TestADeliveryAllocatesItsPayload checks that a delivery makes one allocation, in the codec,
// whatever the size of its payload.
func TestADeliveryAllocatesItsPayload(t *testing.T) {
	const n, most = 64, 1.1
	for _, size := range []int{16, 64, 1 << 10, 32 << 10} {
		s, f := received(frameOf(t, n, size, nil))
		got := 0
		allocs := testing.AllocsPerRun(100, func() {
			f.conn.reader.Reset(f.body)
			// A new tracker takes the same messages again.
			f.conn.member.tracker = journal.NewTracker(journal.Reliable, journal.Position{})
			s.yield(f, func(m Message[blob]) bool {
				if m.Err != nil || m.Gap != nil || len(m.Value.Payload) != size {
					t.Fatalf("%+v", m)
				}
				got++
				return true
			})
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
		s, f := received(frameOf(t, 3, 16, pairs))
		reused := 0
		f.conn.reuse = func(body []byte) {
			reused++
			for i := range body {
				body[i] = 0xff
			}
		}
		f.conn.reader.Reset(f.body)
		var got []Message[blob]
		s.yield(f, func(m Message[blob]) bool { got = append(got, m); return true })
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
	s, f := received(frameOf(b, n, 64, nil))
	b.ReportAllocs()
	got := 0
	for b.Loop() {
		f.conn.reader.Reset(f.body)
		f.conn.member.tracker = journal.NewTracker(journal.Reliable, journal.Position{})
		s.yield(f, func(m Message[blob]) bool {
			got += len(m.Value.Payload)
			return true
		})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(got/64), "ns/message")
}
