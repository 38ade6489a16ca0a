package journal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestNoMarkPassesAGapThatWasNotTold has messages that were to come again leave the ring. A
// subscriber that received a mark behind their gap would resume there, and never be told of it.
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

// TestWhatDoesNotComeAgainIsToldByNumber has a message leave the ring while it waits to come again.
// Its gap must not merge with that of a message whose lane is no longer known, so that the subscriber
// is told of each by number. Only gaps of adjacent messages merge.
func TestWhatDoesNotComeAgainIsToldByNumber(t *testing.T) {
	for second, want := range map[string]string{
		"apart":        "(retention 5-5 x1) (retention 7-7 x1)",
		"side by side": "(retention 5-6 x2)",
	} {
		now := start()
		l := newLog(t, journal.Options{Age: time.Minute})
		publish(t, l, now, say("other", numbers(1, 4)...)...)
		publish(t, l, now, journal.Message{Topic: "t", Payload: []byte("5"), Priority: 255})
		now = now.Add(50 * time.Second)
		seq := uint64(6)
		if second == "apart" {
			publish(t, l, now, say("other", "6")...)
			seq = 7
		}
		publish(t, l, now, say("t", fmt.Sprint(seq))...)
		// Publishing evicts the messages that are more than a minute old.
		now = now.Add(11 * time.Second)
		publish(t, l, now, say("other", "x")...)
		s := subscribe(t, l, now, journal.Subscription{
			Class: journal.AtLeastOnce, Patterns: []string{"t"}, Start: journal.StartAt(journal.Position{Epoch: l.Epoch(), Seq: [journal.Lanes]uint64{seq, seq, 0}}),
			Again: []journal.Range{{From: 5, To: 5}, {From: seq, To: seq}},
		})
		now = now.Add(50 * time.Second)
		publish(t, l, now, say("other", "x")...)
		s.want(now, want)
	}
}
