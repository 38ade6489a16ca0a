package journal_test

import (
	"errors"
	"runtime"
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

// TestWhatASubscriberSaysTouchesNoMoreThanItSpeaksOf counts the deliveries that are looked at
// when a subscriber extends all leases, acks one message, nacks one, acks a range in which
// nothing can be acked, or resumes. Beside 60,000 unacked messages there must be no more than
// beside 100, because publishers wait meanwhile.
func TestWhatASubscriberSaysTouchesNoMoreThanItSpeaksOf(t *testing.T) { // SEC-359
	type act struct {
		name string
		do   func(t *testing.T, l *journal.Log, s *stream, now time.Time, i uint64)
		// late has all messages nacked first, with a delay.
		late bool
	}
	const times = 50
	one := func(s *stream, now time.Time, seq uint64) error {
		_, err := s.Ack(now, journal.Range{From: seq, To: seq})
		return err
	}
	for _, a := range []act{
		{"says that it lives", func(t *testing.T, _ *journal.Log, s *stream, now time.Time, _ uint64) {
			t.Helper()
			if err := s.ExtendAll(now); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"acks one by one", func(t *testing.T, _ *journal.Log, s *stream, now time.Time, i uint64) {
			t.Helper()
			if err := one(s, now, i+1); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"nacks the last ones, and gets them again", func(t *testing.T, _ *journal.Log, s *stream, now time.Time, _ uint64) {
			t.Helper()
			if err := s.Nack(now, uint64(s.Stats(now).Unacked), 0, ""); err != nil {
				t.Fatal(err)
			}
			if _, _, _, err := s.Fill(nil, 1<<10, 1, now); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"acks a range in vain", func(t *testing.T, _ *journal.Log, s *stream, now time.Time, _ uint64) {
			t.Helper()
			if n, err := s.AckThrough(now, uint64(s.Stats(now).Unacked)); n != 0 || err != nil {
				t.Fatal(n, err)
			}
		}, true},
		{"comes back", func(t *testing.T, l *journal.Log, s *stream, now time.Time, _ uint64) {
			t.Helper()
			c, err := l.Resume("s", "", 0, now)
			if err != nil {
				t.Fatal(err)
			}
			s.Cursor, s.reader = c, journal.NewReader(journal.ReaderLimits{})
			if _, n, _, err := s.Fill(nil, 1<<10, 1, now); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}, false},
	} {
		t.Run(a.name, func(t *testing.T) {
			cost := func(messages int) (steps, bytes uint64) {
				now := start()
				l := newLog(t, journal.Options{})
				s := burden(t, l, now, "s", messages)
				for seq := uint64(1); a.late && seq <= uint64(messages); seq++ {
					if err := s.Nack(now, seq, time.Hour, ""); err != nil {
						t.Fatal(err)
					}
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				looked := s.Looked()
				for i := range uint64(times) {
					now = now.Add(time.Millisecond)
					a.do(t, l, s, now, i)
				}
				steps = (s.Looked() - looked) / times
				runtime.ReadMemStats(&after)
				return steps, (after.TotalAlloc - before.TotalAlloc) / times
			}
			few, fewBytes := cost(100)
			many, manyBytes := cost(60_000)
			t.Logf("%d deliveries and %d bytes beside 100, %d and %d beside 60,000", few, fewBytes, many, manyBytes)
			if many > few+2048 || manyBytes > 2*fewBytes+4096 {
				t.Errorf("%d deliveries and %d bytes beside 100, %d and %d beside 60,000", few, fewBytes, many, manyBytes)
			}
		})
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
