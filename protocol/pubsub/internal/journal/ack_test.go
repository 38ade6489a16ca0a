package journal_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

func acked(t *testing.T, s *stream, now time.Time, want int, ranges ...journal.Range) {
	t.Helper()
	if n, err := s.Ack(now, ranges...); n != want || err != nil {
		t.Errorf("ack of %v: %d, %v, want %d", ranges, n, err, want)
	}
}

func TestWindowWaitsForAcks(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Limits: journal.Limits{Messages: 3}})
	publish(t, l, now, say("t", numbers(1, 8)...)...)
	s.want(now, "1 2 3")
	publish(t, l, now, say("t", "9")...)
	if s.ready() {
		t.Error("a message has woken a cursor whose window is full")
	}
	acked(t, s, now, 1, journal.Range{From: 2, To: 2})
	if !s.ready() {
		t.Error("not ready after an ack")
	}
	s.want(now, "4")
	acked(t, s, now, 0, journal.Range{From: 2, To: 2})
	acked(t, s, now, 3, journal.Range{From: 1, To: 2}, journal.Range{From: 3, To: 4})
	s.want(now, "5 6 7")
	if st := s.Stats(now); st.Unacked != 3 || st.UnackedBytes == 0 || st.Lag.Messages != 2 {
		t.Errorf("%+v", st)
	}
	if n, err := s.AckThrough(now, 6); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if got, want := s.Position().Seq[1], uint64(6); got != want {
		t.Errorf("position %d, want %d", got, want)
	}
	s.want(now, "8 9")
	acked(t, s, now, 3, journal.Range{From: 0, To: 9})
	if st := s.Stats(now); st.Unacked != 0 || st.UnackedBytes != 0 {
		t.Errorf("%+v", st)
	}
	if _, ok := s.Deadline(); ok {
		// A lease that was removed leaves at most an early deadline, which Fill clears.
		s.want(now.Add(time.Hour), "")
		if at, ok := s.Deadline(); ok {
			t.Errorf("a deadline at %v, and nothing waits", at)
		}
	}
}

func TestWindowIsBoundedInBytes(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Limits: journal.Limits{Bytes: 250}})
	publish(t, l, now, say("t", strings.Repeat("a", 100), strings.Repeat("b", 100), strings.Repeat("c", 100), "d")...)
	s.read(now)
	if st := s.Stats(now); st.Unacked != 3 {
		t.Errorf("%d messages of 100 bytes in a window of 250", st.Unacked)
	}
}

// TestRangeAcksOnlyWhatWasSentBefore sends the messages in the order 2, 3, 1, because 1 is in
// the low lane. A subscriber that acks through 2 may not have 1 yet.
func TestRangeAcksOnlyWhatWasSentBefore(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce})
	publish(t, l, now, journal.Message{Topic: "t", Priority: 1}, journal.Message{Topic: "t", Priority: 255}, journal.Message{Topic: "t"})
	s.read(now)
	acked(t, s, now, 1, journal.Range{From: 1, To: 2})
	// An answer to 1 shows that 3, which was sent before it, has arrived.
	if err := s.Extend(now, 1); err != nil {
		t.Fatal(err)
	}
	acked(t, s, now, 2, journal.Range{From: 1, To: 3})
}

func TestRangeDoesNotAckWhatWaits(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce})
	publish(t, l, now, say("t", "a", "b", "c")...)
	s.read(now)
	if err := s.Nack(now, 2, time.Second, "busy"); err != nil {
		t.Fatal(err)
	}
	acked(t, s, now, 2, journal.Range{From: 1, To: 3})
	s.want(now, "")
	s.want(now.Add(time.Second), "b#2")
	acked(t, s, now, 1, journal.Range{From: 2, To: 2})
}

func TestAnswersToWhatWasNeverSentAreErrors(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Patterns: []string{"t"}, Limits: journal.Limits{Messages: 2}})
	publish(t, l, now, say("t", "a")...)
	publish(t, l, now, say("other", "x")...)
	publish(t, l, now, journal.Message{Topic: "t", Priority: 1})
	publish(t, l, now, say("t", "d", "e")...)
	s.want(now, "a d") // messages 1 and 4; 3 is in the low lane
	for _, seq := range []uint64{0, 2, 3, 5, 6, 1 << 60} {
		for name, err := range map[string]error{
			"ack":     func() error { _, err := s.Ack(now, journal.Range{From: seq, To: seq}); return err }(),
			"range":   func() error { _, err := s.AckThrough(now, seq); return err }(),
			"nack":    s.Nack(now, seq, 0, ""),
			"release": s.Release(now, seq),
			"extend":  s.Extend(now, 1, seq),
		} {
			if e, ok := errors.AsType[*journal.NotSentError](err); !ok || e.Seq != seq || e.Last != 4 {
				t.Errorf("%s of %d: %v", name, seq, err)
			}
		}
	}
	if _, err := s.Ack(now, journal.Range{From: 1, To: 1}, journal.Range{From: 5, To: 5}); err == nil {
		t.Error("no error for the second range")
	}
	if st := s.Stats(now); st.Unacked != 2 {
		t.Errorf("an ack with an error has acked: %+v", st)
	}
	if _, err := s.Ack(now, journal.Range{From: 4, To: 1}); err == nil {
		t.Error("no error for a range that ends before it starts")
	}
	var limit *journal.LimitError
	if _, err := s.Ack(now, make([]journal.Range, journal.MaxRanges+1)...); !errors.As(err, &limit) {
		t.Errorf("too many ranges: %v", err)
	}
	best := subscribe(t, l, now, journal.Subscription{})
	var option *journal.OptionError
	if _, err := best.Ack(now, journal.Range{From: 1, To: 1}); !errors.As(err, &option) {
		t.Errorf("ack of best effort: %v", err)
	}
	s.Close(now)
	if err := s.Nack(now, 1, 0, ""); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("nack after Close: %v", err)
	}
}

func TestLeaseEndsUnlessExtended(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce})
	publish(t, l, now, say("t", "a", "b")...)
	s.want(now, "a b")
	if at, ok := s.Deadline(); !ok || !at.Equal(now.Add(journal.DefaultLease)) {
		t.Errorf("deadline %v, %v", at, ok)
	}
	now = now.Add(20 * time.Second)
	if err := s.Extend(now, 2); err != nil {
		t.Fatal(err)
	}
	now = now.Add(10 * time.Second)
	s.want(now, "")
	if at, ok := s.Deadline(); !ok || !at.Equal(now.Add(time.Second)) {
		t.Errorf("deadline %v, %v", at, ok)
	}
	now = now.Add(time.Second)
	s.want(now, "a#2")
	acked(t, s, now, 1, journal.Range{From: 1, To: 1})
	now = now.Add(19 * time.Second)
	s.want(now, "")
	s.want(now.Add(time.Second), "b#2")
}

func TestFailuresEndInADeadLetterWithItsHistory(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, ID: "s"})
	m := journal.Message{
		Topic: "t", Key: "k", Payload: []byte("poison"), Priority: 200, TTL: time.Hour,
		Headers: []journal.Pair{{Name: "h", Value: "v"}},
	}
	publish(t, l, now, m)
	var sent []time.Time
	want := "poison"
	for i, wait := range append(journal.DefaultBackoff(), 0) {
		s.want(now, want)
		want = "poison#" + string(rune('2'+i))
		sent = append(sent, now)
		now = now.Add(time.Millisecond)
		s.ready()
		if err := s.Nack(now, 1, -1, "no "+strings.Repeat("x", 1000)); err != nil {
			t.Fatal(err)
		}
		if !s.ready() {
			t.Error("a nack does not say that there is a new deadline")
		}
		if wait > 0 {
			s.want(now.Add(wait-1), "")
		}
		now = now.Add(wait)
	}
	s.want(now.Add(time.Hour), "")
	letters := s.DeadLetters(10)
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	d := letters[0]
	if d.Seq != 1 || d.Reason != journal.DeadDeliveries || d.Message.Topic != "t" || d.Message.Key != "k" || string(d.Message.Payload) != "poison" ||
		d.Message.Priority != 200 || d.Message.TTL != time.Hour || len(d.Message.Headers) != 1 || !d.Time.Equal(start()) {
		t.Errorf("%+v", d)
	}
	if len(d.History) != 5 {
		t.Fatalf("%d attempts", len(d.History))
	}
	for i, a := range d.History {
		if !a.Sent.Equal(sent[i]) || !a.Ended.Equal(sent[i].Add(time.Millisecond)) || a.Outcome != journal.Nacked || a.Session != "s" || !strings.HasPrefix(a.Cause, "no x") || len(a.Cause) != 256 {
			t.Errorf("attempt %d: %+v", i, a)
		}
	}
	if st := s.Stats(now); st.Unacked != 0 || st.DeadLetters != 0 || st.DeadLettersTotal != 1 {
		t.Errorf("%+v", st)
	}
}

func TestReleaseCountsNoDelivery(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Deliveries: 1})
	publish(t, l, now, say("t", "a")...)
	for range 10 {
		s.want(now, "a")
		if err := s.Release(now, 1); err != nil {
			t.Fatal(err)
		}
	}
	s.want(now, "a")
	if err := s.Nack(now, 1, -1, ""); err != nil {
		t.Fatal(err)
	}
	if len(s.DeadLetters(1)) != 1 {
		t.Error("one delivery was allowed, and there is no dead letter")
	}
}

func TestExpiryAfterADeliveryIsADeadLetter(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce})
	publish(t, l, now, journal.Message{Topic: "t", TTL: 2 * time.Second, Payload: []byte("a")})
	s.want(now, "a")
	if err := s.Nack(now, 1, 3*time.Second, ""); err != nil {
		t.Fatal(err)
	}
	s.want(now.Add(3*time.Second), "")
	if d := s.DeadLetters(1); len(d) != 1 || d[0].Reason != journal.DeadExpired || len(d[0].History) != 1 {
		t.Errorf("%+v", d)
	}
}

func TestDeadLettersAreBounded(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Deliveries: 1})
	const more = 50
	for i := range journal.MaxDeadLetters + more {
		publish(t, l, now, say("t", "x")...)
		s.read(now)
		if err := s.Nack(now, uint64(i+1), -1, ""); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(now); st.DeadLetters != journal.MaxDeadLetters || st.DeadLettersDropped != more || st.DeadLettersTotal != journal.MaxDeadLetters+more {
		t.Errorf("%+v", st)
	}
	if d := s.DeadLetters(2); len(d) != 2 || d[0].Seq != more+1 || d[1].Seq != more+2 {
		t.Errorf("%+v", d)
	}
	for range 5 {
		publish(t, l, now, say("t", strings.Repeat("x", 3<<20))...)
		s.read(now)
		if err := s.Nack(now, l.Stats().Next-1, -1, ""); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(now); st.DeadLetters != 2 {
		t.Errorf("%d dead letters of 3 MiB", st.DeadLetters)
	}
	if d := s.DeadLetters(-1); len(d) != 0 {
		t.Errorf("%d dead letters of -1", len(d))
	}
}

func TestUnackedMessagesOutliveTheRing(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{Bytes: 10_000})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Limits: journal.Limits{Messages: 2}})
	publish(t, l, now, say("t", "a", "b")...)
	s.want(now, "a b")
	publish(t, l, now, say("t", numbers(3, 1000)...)...)
	if err := s.Nack(now, 1, 0, ""); err != nil {
		t.Fatal(err)
	}
	first := l.Stats().First
	s.want(now, fmt.Sprintf("a#2 (retention 3-%d x%d)", first-1, first-3))
	acked(t, s, now, 2, journal.Range{From: 1, To: 1}, journal.Range{From: 2, To: 2})
	s.want(now, strings.Join(numbers(int(first), int(first)+1), " "))
}

func TestSessionGoesOnWhereItWas(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	sub := journal.Subscription{Class: journal.AtLeastOnce, ID: "s", Patterns: []string{">"}}
	old := subscribe(t, l, now, sub)
	publish(t, l, now, say("t", "a", "b", "c")...)
	old.want(now, "a b c")
	acked(t, old, now, 1, journal.Range{From: 2, To: 2})
	old.Detach(now)
	if _, _, _, err := old.Fill(nil, 1000, 10, now); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("Fill of a detached cursor: %v", err)
	}
	acked(t, old, now, 1, journal.Range{From: 1, To: 1}) // an ack that was in flight
	publish(t, l, now, say("t", "d")...)
	now = now.Add(journal.SessionKept - 1)
	l.Tick(now)
	if _, err := l.Subscribe(sub, now); err == nil {
		t.Error("a second session of the same name")
	}
	resume := func() *stream {
		c, err := l.Resume("s", "", 0, now)
		if err != nil {
			t.Fatal(err)
		}
		return &stream{TB: t, Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
	}
	s := resume()
	s.want(now, "c#2 d")
	if err := old.Nack(now, 3, 0, ""); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("nack of the cursor before: %v", err)
	}
	old.Detach(now)
	old.Close(now)
	next := resume() // the publisher has not noticed yet that the connection is lost
	next.want(now, "c#3 d#2")
	if _, _, _, err := s.Fill(nil, 1000, 10, now); !errors.Is(err, journal.ErrClosed) || !s.ready() {
		t.Errorf("Fill of a cursor that was resumed: %v", err)
	}
	next.Detach(now)
	now = now.Add(journal.SessionKept)
	if _, err := l.Resume("s", "", 0, now); !errors.Is(err, journal.ErrNoSession) {
		t.Errorf("resume too late: %v", err)
	}
	l.Tick(now)
	if st := l.Stats(); st.Sessions != 0 || st.Subscriptions != 0 {
		t.Errorf("%+v", st)
	}
	subscribe(t, l, now, sub).Close(now)
	if _, err := l.Resume("s", "", 0, now); !errors.Is(err, journal.ErrNoSession) {
		t.Errorf("resume after Close: %v", err)
	}
	plain := subscribe(t, l, now, journal.Subscription{})
	plain.Detach(now)
	if st := l.Stats(); st.Subscriptions != 0 {
		t.Errorf("without a session, Detach leaves %+v", st)
	}
}

func TestGapsAreToldAgainIfTheyMayBeLost(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, ID: "s"})
	resume := func(heard uint64) {
		c, err := l.Resume("s", "", heard, now)
		if err != nil {
			t.Fatal(err)
		}
		s = &stream{TB: t, Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
	}
	publish(t, l, now, journal.Message{Topic: "t", TTL: 1, Payload: []byte("x")}, journal.Message{Topic: "t", Payload: []byte("a")})
	now = now.Add(time.Second)
	s.want(now, "(ttl 1-1 x1) a")
	resume(0) // nothing arrived
	s.want(now, "(ttl 1-1 x1) a#2")
	resume(1) // only the gap arrived
	s.want(now, "a#3")
	publish(t, l, now, journal.Message{Topic: "t", TTL: 1, Payload: []byte("y")})
	now = now.Add(time.Second)
	s.want(now, "(ttl 3-3 x1)")
	publish(t, l, now, say("t", "b")...)
	s.want(now, "b")
	acked(t, s, now, 1, journal.Range{From: 4, To: 4}) // shows that everything before it has arrived
	resume(1)
	s.want(now, "a#4")
}

func TestTickEndsLeasesOfThoseThatDoNotAsk(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce})
	publish(t, l, now, say("t", "a")...)
	s.want(now, "a")
	now = now.Add(journal.DefaultLease)
	l.Tick(now)
	now = now.Add(time.Second)
	l.Tick(now)
	if !s.ready() {
		t.Error("not ready when a message is due again")
	}
	s.want(now, "a#2")
}

// TestAnExpiredSessionMakesWay checks that an expired session makes way for a new one of the same
// name even if Tick was not called in between: an idle publisher has no clock of its own.
func TestAnExpiredSessionMakesWay(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	sub := journal.Subscription{Class: journal.AtLeastOnce, ID: "s", Patterns: []string{">"}}
	subscribe(t, l, now, sub).Detach(now)
	now = now.Add(journal.SessionKept + time.Second)
	if _, err := l.Resume("s", "", 0, now); !errors.Is(err, journal.ErrNoSession) {
		t.Errorf("resume too late: %v", err)
	}
	s := subscribe(t, l, now, sub)
	publish(t, l, now, say("t", "a")...)
	s.want(now, "a")
	if st := l.Stats(); st.Sessions != 1 || st.Subscriptions != 1 {
		t.Errorf("%+v", st)
	}
}

// TestReconnectingIsNoFailure resumes more often than a message may fail, and expects that only nacks count.
func TestReconnectingIsNoFailure(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, ID: "s"})
	publish(t, l, now, say("t", "a")...)
	s.want(now, "a")
	const storm = 2 * journal.MaxDeliveries
	for i := range storm {
		c, err := l.Resume("s", "", 0, now)
		if err != nil {
			t.Fatal(err)
		}
		s = &stream{TB: t, Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
		s.want(now, fmt.Sprintf("a#%d", i+2))
	}
	for i := range journal.DefaultMaxDeliveries {
		if list := l.DeadLetters(1); len(list) > 0 {
			t.Fatalf("after %d nacks: %+v", i, list)
		}
		if err := s.Nack(now, 1, 0, ""); err != nil {
			t.Fatal(err)
		}
		if i < journal.DefaultMaxDeliveries-1 {
			s.want(now, fmt.Sprintf("a#%d", storm+i+2))
		}
	}
	list := l.DeadLetters(2)
	if len(list) != 1 || len(list[0].History) != journal.MaxHistory || list[0].History[journal.MaxHistory-1].Outcome != journal.Nacked {
		t.Errorf("%d dead letters: %+v", len(list), list)
	}
}

func TestAWindowHasAMostOfBytes(t *testing.T) {
	sub := journal.Subscription{Class: journal.AtLeastOnce, Patterns: []string{">"}, Limits: journal.Limits{Bytes: journal.MaxWindowBytes}}
	if err := sub.Validate(); err != nil {
		t.Error(err)
	}
	sub.Limits.Bytes++
	if _, ok := errors.AsType[*journal.LimitError](sub.Validate()); !ok {
		t.Errorf("got %v", sub.Validate())
	}
}

// TestLeasesThatEndedUnheardAreForgiven has leases end while the network is down, and expects no dead letter.
func TestLeasesThatEndedUnheardAreForgiven(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, ID: "s"})
	publish(t, l, now, say("t", "a")...)
	s.want(now, "a")
	for i := range 3 * journal.DefaultMaxDeliveries {
		now = now.Add(journal.DefaultLease)
		s.want(now, "")
		now = now.Add(time.Second)
		s.want(now, fmt.Sprintf("a#%d", 2*i+2))
		c, err := l.Resume("s", "", 0, now)
		if err != nil {
			t.Fatal(err)
		}
		s = &stream{TB: t, Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
		s.want(now, fmt.Sprintf("a#%d", 2*i+3))
	}
	if list := l.DeadLetters(1); len(list) > 0 {
		t.Errorf("%+v", list)
	}
}
