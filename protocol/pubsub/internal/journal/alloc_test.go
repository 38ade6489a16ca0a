package journal_test

import (
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestAMessageCostsNoAllocationOfItsOwn counts the allocations of Append, Fill and Next. Slabs do
// not show in the average, because each has room for hundreds of messages.
func TestAMessageCostsNoAllocationOfItsOwn(t *testing.T) {
	now := time.Now()
	l, err := journal.New(journal.Options{Epoch: 1, Bytes: 1 << 20}, now)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Subscribe(journal.Subscription{Patterns: []string{"t"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	m := journal.Message{Topic: "t", Key: "k", Headers: []journal.Pair{{Name: "h", Value: "v"}}, Payload: make([]byte, 64)}
	buf := make([]byte, 0, 4096)
	r := journal.NewReader(journal.ReaderLimits{})
	var rec journal.Record
	read := 0
	got := testing.AllocsPerRun(10_000, func() {
		if _, err := l.Append(m, now); err != nil {
			t.Fatal(err)
		}
		body, _, _, err := c.Fill(buf, cap(buf), 1, now)
		if err != nil {
			t.Fatal(err)
		}
		r.Reset(body)
		for {
			ok, err := r.Next(&rec)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if rec.Kind == journal.KindMessage {
				read++
			}
		}
	})
	if got > 0 || read != 10_001 {
		t.Errorf("%v allocations per message, want 0; %d messages were read", got, read)
	}
}
