package journal_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestListsOfGapsChangeAtAnyPlace compares lists of gaps with slices over random insertions and removals.
func TestListsOfGapsChangeAtAnyPlace(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var list journal.GapList
		for i := range uint64(500) {
			var ok bool
			if n := list.Len(); n > 0 && r.IntN(5) < 2 {
				ok = list.Cut(r.IntN(n))
			} else {
				ok = list.Put(r.IntN(n+1), journal.Gap{From: i})
			}
			if !ok {
				t.Fatalf("seed %d: another list after step %d", seed, i)
			}
		}
	}
}

// TestToTellAGapMovesNoOthers checks that taking a gap moves no more than one other on average, however many there
// are, because publishers wait meanwhile.
func TestToTellAGapMovesNoOthers(t *testing.T) { // SEC-390
	if moved := journal.GapsMovedByTaking(10_000); moved > 10_000 {
		t.Errorf("10,000 gaps that are told change places %d times", moved)
	}
}

// asked returns a subscriber that has asked for MaxAgain single messages again. None of these messages
// is kept any more.
func asked(t *testing.T, l *journal.Log, now time.Time) *stream {
	t.Helper()
	var again []journal.Range
	for i := range uint64(journal.MaxAgain) {
		publish(t, l, now, say("t", "x", "x")...)
		again = append(again, journal.Range{From: 2*i + 1, To: 2*i + 1})
	}
	now = now.Add(2 * journal.DefaultAge)
	publish(t, l, now, say("t", "last")...)
	sub := journal.Subscription{
		Patterns: []string{"t"}, Class: journal.AtLeastOnce, ID: "s", Start: journal.StartAt(at(l.Epoch(), 2*journal.MaxAgain)), Again: again,
	}
	s := subscribe(t, l, now, sub)
	sub.ID, sub.Limits.Messages, sub.Again = "other", journal.MaxWindow, append(again, journal.Range{From: 2 * journal.MaxAgain, To: 2 * journal.MaxAgain})
	if _, err := l.Subscribe(sub, now); !isLimit(err) {
		t.Errorf("one range more: %v", err)
	}
	return s
}

func isLimit(err error) bool {
	_, ok := errors.AsType[*journal.LimitError](err)
	return ok
}

// TestManyGapsAreToldInSteps checks that many gaps are told in steps, so that publishers can go on in between.
func TestManyGapsAreToldInSteps(t *testing.T) { // SEC-390
	const step = 256
	s := asked(t, newLog(t, journal.Options{}), start())
	if left := s.TellOnce(); left != journal.MaxAgain-step {
		t.Errorf("one step leaves %d gaps of %d, want %d less", left, journal.MaxAgain, step)
	}
}

// TestAllGapsOfAFrameAreToldAgain checks that the gaps of a lost frame are told again, however many there were.
func TestAllGapsOfAFrameAreToldAgain(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	old := asked(t, l, now)
	now = now.Add(2 * journal.DefaultAge)
	first := old.read(now)
	if got := strings.Count(first, "retention"); got != journal.MaxAgain {
		t.Fatalf("%d gaps, want %d", got, journal.MaxAgain)
	}
	before := l.Stats().Unacked
	for _, heard := range []int{0, journal.MaxAgain - 1} {
		old.Detach(now)
		c, err := l.Resume("s", "", uint64(heard), now)
		if err != nil {
			t.Fatal(err)
		}
		old = &stream{TB: t, Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
		if got := strings.Count(old.read(now), "retention"); got != journal.MaxAgain-heard {
			t.Errorf("%d gaps come again of a subscriber that has heard %d, want %d", got, heard, journal.MaxAgain-heard)
		}
	}
	acked(t, old, now, 1, journal.Range{From: 2*journal.MaxAgain + 1, To: 2*journal.MaxAgain + 1})
	if got := l.Stats().Unacked; got != 0 || before < 8*journal.MaxAgain {
		t.Errorf("%d bytes were counted for gaps that may have to be told again, and %d still", before, got)
	}
}

// TestNoGapIsForgottenThatMayHaveToBeToldAgain has more gaps told than are remembered one by one, loses the
// connection, and expects that every missing message is told again and counted once.
func TestNoGapIsForgottenThatMayHaveToBeToldAgain(t *testing.T) {
	const gaps = 3 * journal.MaxAgain
	now := start()
	l := newLog(t, journal.Options{Bytes: 1 << 30})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, ID: "s", Limits: journal.Limits{Messages: journal.MaxWindow}})
	for range gaps {
		publish(t, l, now, journal.Message{Topic: "t", TTL: time.Millisecond}, journal.Message{Topic: "t"})
		now = now.Add(2 * time.Millisecond)
		s.read(now)
	}
	s.Detach(now)
	c, err := l.Resume("s", "", 0, now)
	if err != nil {
		t.Fatal(err)
	}
	s = &stream{Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
	told := make(map[uint64]bool)
	var counted, last uint64
	for s.more = true; s.more; {
		out, _, more, err := s.Fill(nil, 64<<10, 1024, now)
		if err != nil {
			t.Fatal(err)
		}
		s.more = more
		s.reader.Reset(out)
		var rec journal.Record
		for {
			if ok, err := s.reader.Next(&rec); err != nil {
				t.Fatal(err)
			} else if !ok {
				break
			}
			for seq := rec.Gap.From; rec.Kind == journal.KindGap && seq <= rec.Gap.To; seq++ {
				told[seq] = true
			}
			if rec.Kind == journal.KindGap {
				counted, last = counted+rec.Gap.Count, rec.Gap.To
			}
			if rec.Kind == journal.KindMessage && rec.Seq < last {
				t.Fatalf("message %d comes after a gap to %d, and a subscriber that is lost between them goes on behind it", rec.Seq, last)
			}
		}
	}
	missing := 0
	for seq := uint64(1); seq < 2*gaps; seq += 2 {
		if !told[seq] {
			missing++
		}
	}
	if missing > 0 || counted != gaps {
		t.Errorf("%d of %d messages are missing and not told again; gaps count %d", missing, gaps, counted)
	}
}

// TestMessagesThatDoNotComeAreFoundInSteps checks that a Fill goes through an expired backlog only as
// far as its budget allows, and that the gaps on the two sides of an expired message become one for
// each reason.
func TestMessagesThatDoNotComeAreFoundInSteps(t *testing.T) { // SEC-390
	const step, messages = 4096, 10_000
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Limits: journal.Limits{Messages: messages, Age: time.Second}})
	for range messages {
		publish(t, l, now, say("t", "x")...)
	}
	now = now.Add(2 * time.Second)
	if got, want := s.fill(now, 64<<10, 256), fmt.Sprintf("(overflow 1-%d x%d)", step, step); got != want || !s.more {
		t.Errorf("one Fill finds %q and more: %t, want %q", got, s.more, want)
	}
	s.read(now)

	s = subscribe(t, l, now, journal.Subscription{Overflow: journal.DropNewest, Limits: journal.Limits{Messages: 100}})
	for range 100 {
		publish(t, l, now, journal.Message{Topic: "t", TTL: time.Second})
	}
	first := uint64(messages + 1)
	// Each message that is read makes room for one more; the second one is dropped.
	for range 50 {
		if _, n, _, err := s.Fill(nil, 64<<10, 1, now); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		publish(t, l, now, journal.Message{Topic: "t", TTL: time.Second}, journal.Message{Topic: "t", TTL: time.Second})
	}
	now = now.Add(2 * time.Second)
	s.want(now, fmt.Sprintf("(ttl %d-%d x100) (overflow %d-%d x50)", first+50, first+198, first+101, first+199))
}
