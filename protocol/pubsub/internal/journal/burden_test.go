package journal_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// burden returns a subscriber whose window is full of messages that it has not acked.
func burden(t *testing.T, l *journal.Log, now time.Time, id string, messages int) *stream {
	t.Helper()
	s := subscribe(t, l, now, journal.Subscription{
		Patterns: []string{"t"}, Class: journal.AtLeastOnce, ID: id, Limits: journal.Limits{Messages: messages, Bytes: journal.MaxWindowBytes},
	})
	for range messages {
		publish(t, l, now, say("t", "x")...)
	}
	for s.more = true; s.more; {
		_, _, more, err := s.Fill(nil, 64<<10, 1024, now)
		if err != nil {
			t.Fatal(err)
		}
		s.more = more
	}
	if st := s.Stats(now); st.Unacked != messages {
		t.Fatalf("%d messages wait for acks, want %d", st.Unacked, messages)
	}
	return s
}

// TestAWindowHasAMostOfMessages checks that a window is bounded, because the subscriber chooses its size.
func TestAWindowHasAMostOfMessages(t *testing.T) {
	sub := journal.Subscription{Class: journal.AtLeastOnce, Patterns: []string{">"}, Limits: journal.Limits{Messages: journal.MaxWindow}}
	if err := sub.Validate(); err != nil {
		t.Error(err)
	}
	sub.Limits.Messages++
	if _, ok := errors.AsType[*journal.LimitError](sub.Validate()); !ok {
		t.Errorf("a window of %d messages: %v", sub.Limits.Messages, sub.Validate())
	}
}

// TestAMemberThatLeavesIsHandedOverInSteps checks that what a member leaves is handed over in
// steps, so that publishers can go on in between, and that the group gets all of it in order.
func TestAMemberThatLeavesIsHandedOverInSteps(t *testing.T) {
	const messages, step = 5000, 256
	now := start()
	l := newLog(t, journal.Options{})
	sub := journal.Subscription{Class: journal.AtLeastOnce, Patterns: []string{"t"}, Group: "g", Credit: messages, Limits: journal.Limits{Messages: messages}}
	a := subscribe(t, l, now, sub)
	for range messages {
		publish(t, l, now, say("t", "x")...)
	}
	fill := func(s *stream) (seqs []uint64) {
		for s.more = true; s.more; {
			out, _, more, err := s.Fill(nil, 64<<10, 1024, now)
			if err != nil {
				t.Fatal(err)
			}
			seqs, s.more = slices.AppendSeq(seqs, journal.Messages(out)), more
		}
		return seqs
	}
	if got := fill(a); len(got) != messages {
		t.Fatalf("a member has %d messages, want %d", len(got), messages)
	}
	b := subscribe(t, l, now, sub)
	if left := a.StripOnce(); left != messages-step {
		t.Errorf("one step leaves %d messages of %d, want %d less", left, messages, step)
	}
	a.Close(now)
	if got := fill(b); len(got) != messages || !slices.IsSorted(got) {
		t.Errorf("the other member gets %d messages, want %d, in order", len(got), messages)
	}
	b.Close(now)
	if got := l.Stats().Unacked; got != 0 {
		t.Errorf("%d bytes wait for acks of nobody", got)
	}
}
