package journal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// numbers returns the numbers of a range, both ends included, as payloads.
func numbers(from, to int) []string {
	var list []string
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

func TestReliableReadsTheRingWhenItIsBehind(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.Reliable, Patterns: []string{"t"}})
	s.read(now)
	// These are more messages than a queue holds.
	const n = 10_000
	for i := 1; i <= n; i++ {
		publish(t, l, now, say("t", fmt.Sprint(i))...)
		publish(t, l, now, say("other", "x")...)
	}
	if st := s.Stats(now); st.Lag.Exact || st.Lag.Messages < n || st.Lag.Messages > 2*n || st.Lag.Bytes == 0 {
		t.Errorf("%+v", st)
	}
	s.want(now, strings.Join(numbers(1, n), " "))
	if st := s.Stats(now); !st.Lag.Exact || st.Lag.Messages != 0 {
		t.Errorf("%+v", st)
	}
	publish(t, l, now, say("t", "live")...)
	if !s.ready() {
		t.Error("not ready when it is live again")
	}
	s.want(now, "live")
}

func TestReliableEndsWithAPositionToResumeAt(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{Bytes: 20_000})
	sub := journal.Subscription{Class: journal.Reliable}
	s := subscribe(t, l, now, sub)
	publish(t, l, now, say("t", numbers(1, 10)...)...)
	if got := s.fill(now, 1000, 4); got != "1 2 3 4" {
		t.Fatal(got)
	}
	publish(t, l, now, say("t", numbers(11, 1000)...)...)
	_, n, _, err := s.Fill(nil, 1000, 10, now)
	tooFar, ok := errors.AsType[*journal.TooFarBehindError](err)
	if !ok || n != 0 {
		t.Fatalf("%d messages, %v", n, err)
	}
	first := l.Stats().First
	if tooFar.Resume.Seq[1] != 4 || tooFar.First != first || !strings.Contains(err.Error(), "resume") {
		t.Errorf("%v, %+v", err, tooFar)
	}
	if _, _, _, again := s.Fill(nil, 1000, 10, now); again == nil {
		t.Error("the error did not stay")
	}
	s.Close(now)
	sub.Start = journal.StartAt(tooFar.Resume)
	s = subscribe(t, l, now, sub)
	s.want(now, fmt.Sprintf("(retention 5-%d) ", first-1)+strings.Join(numbers(int(first), 1000), " "))
}

func TestPositionPerLaneRepeatsNothing(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.Reliable})
	tracker := journal.NewTracker(journal.Reliable, s.Position())
	for i, p := range []uint8{1, 128, 255, 1, 128, 255} {
		publish(t, l, now, journal.Message{Topic: "t", Priority: p, Payload: fmt.Append(nil, i)})
	}
	frame, _, _, err := s.Fill(nil, 1000, 3, now)
	if err != nil {
		t.Fatal(err)
	}
	words, _ := s.decode(frame)
	s.reader.Reset(frame)
	var rec journal.Record
	for ok, err := s.reader.Next(&rec); ok; ok, err = s.reader.Next(&rec) {
		if err != nil {
			t.Fatal(err)
		}
		tracker.Observe(&rec)
	}
	if got := strings.Join(words, " "); got != "2 5 1" {
		t.Fatal(got)
	}
	s.Close(now)
	p, _, err := journal.ParsePosition(tracker.Position().Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	s = subscribe(t, l, now, journal.Subscription{Class: journal.Reliable, Start: journal.StartAt(p)})
	s.want(now, "4 0 3")
}
