package journal_test

import (
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestNoMarkPassesAGapThatWasNotTold where messages that were to come again have left the ring,
// too: the subscriber would go on behind the gap when it comes back, and never hear of it.
func TestNoMarkPassesAGapThatWasNotTold(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{Age: time.Minute})
	publish(t, l, now, say("t", numbers(1, 10)...)...)
	publish(t, l, now, journal.Message{Topic: "t", Payload: []byte("11"), Priority: 255})
	now = now.Add(2 * time.Minute)
	publish(t, l, now, say("t", "12")...)
	s := subscribe(t, l, now, journal.Subscription{
		Class: journal.AtLeastOnce, Start: journal.StartAt(journal.Position{Epoch: l.Epoch(), Seq: [journal.Lanes]uint64{11, 0, 0}}),
		Again: []journal.Range{{From: 11, To: 11}},
	})
	s.marks = true
	if got := s.Position().Seq[1]; got != 0 {
		t.Errorf("the subscription begins at %d, want 0", got)
	}
	if words, _ := s.decode(s.Mark(nil)); len(words) != 1 || words[0] != "[2 to 0]" {
		t.Errorf("before anything was told: %q", words)
	}
	s.want(now, "(retention 1-11) (retention 11-11 x1) 12 [1 to 12]")
}
