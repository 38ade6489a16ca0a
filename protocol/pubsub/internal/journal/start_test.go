package journal_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// at returns a position with the same number in all lanes.
func at(epoch, seq uint64) journal.Position {
	return journal.Position{Epoch: epoch, Seq: [journal.Lanes]uint64{seq, seq, seq}}
}

func TestStart(t *testing.T) {
	for _, class := range []journal.Class{journal.BestEffort, journal.Reliable, journal.AtLeastOnce} {
		for _, tt := range []struct {
			name  string
			start journal.Start
			keys  []string
			want  string
		}{
			{name: "new", start: journal.StartNew(), want: "l1 l2"},
			{name: "all", start: journal.StartAll(), want: "a1 b1 a2 c1 b2 l1 l2"},
			{name: "all of a key", start: journal.StartAll(), keys: []string{"a"}, want: "a1 a2 l1"},
			{name: "last three", start: journal.StartLast(3), want: "a2 c1 b2 l1 l2"},
			{name: "last of a key", start: journal.StartLast(1), keys: []string{"a"}, want: "a2 l1"},
			{name: "more than there are", start: journal.StartLast(100), want: "a1 b1 a2 c1 b2 l1 l2"},
			{name: "last of each key", start: journal.StartLastPerKey(), want: "a2 c1 b2 l1 l2"},
			{name: "last of each of some keys", start: journal.StartLastPerKey(), keys: []string{"a", "b"}, want: "a2 b2 l1 l2"},
			{name: "time", start: journal.StartTime(start().Add(2 * time.Second)), want: "a2 c1 b2 l1 l2"},
			{name: "time between messages", start: journal.StartTime(start().Add(2*time.Second + 1)), want: "c1 b2 l1 l2"},
			{name: "time before all", start: journal.StartTime(start().Add(-time.Hour)), want: "a1 b1 a2 c1 b2 l1 l2"},
			{name: "time to come", start: journal.StartTime(start().Add(time.Hour)), want: "l1 l2"},
			{name: "number", start: journal.StartSeq(4), want: "c1 b2 l1 l2"},
			{name: "number of a key", start: journal.StartSeq(2), keys: []string{"a"}, want: "a2 l1"},
			{name: "number to come", start: journal.StartSeq(100), want: "l1 l2"},
			{name: "feed", start: journal.StartFeed(30), want: "c1 b2 l1 l2"},
			{name: "feed between messages", start: journal.StartFeed(39), want: "c1 b2 l1 l2"},
			{name: "feed at the end", start: journal.StartFeed(1000), want: "l1 l2"},
			{name: "feed before all", start: journal.StartFeed(0), want: "a1 b1 a2 c1 b2 l1 l2"},
			{name: "position", start: journal.StartAt(at(1, 3)), want: "c1 b2 l1 l2"},
			{name: "position at the end", start: journal.StartAt(at(1, 5)), want: "l1 l2"},
			{name: "position at the start", start: journal.StartAt(at(1, 0)), want: "a1 b1 a2 c1 b2 l1 l2"},
			{name: "position of another epoch", start: journal.StartAt(at(2, 3)), want: "(restart 0-0) a1 b1 a2 c1 b2 l1 l2"},
		} {
			t.Run(class.String()+"/"+tt.name, func(t *testing.T) {
				now := start()
				l := newLog(t, journal.Options{})
				for i, p := range []string{"a1", "b1", "a2", "c1", "b2"} {
					publish(t, l, now, journal.Message{Topic: "t", Key: p[:1], Payload: []byte(p), Feed: uint64(i+1) * 10})
					now = now.Add(time.Second)
				}
				s := subscribe(t, l, now, journal.Subscription{Class: class, Start: tt.start, Keys: tt.keys})
				publish(t, l, now, journal.Message{Topic: "t", Key: "a", Payload: []byte("l1")})
				publish(t, l, now, journal.Message{Topic: "t", Key: "b", Payload: []byte("l2")})
				s.want(now, tt.want)
				publish(t, l, now, journal.Message{Topic: "t", Key: "a", Payload: []byte("l3")})
				s.want(now, "l3")
			})
		}
	}
}

func TestStartOfLatestConflates(t *testing.T) {
	for _, tt := range []struct {
		start journal.Start
		want  string
	}{
		{journal.StartAll(), "(conflated 1-3 x3) b2 a3 c1"},
		{journal.StartLastPerKey(), "(conflated 3-3 x1) b2 c1 a3"},
		{journal.StartAt(at(1, 2)), "(conflated 3-3) a3 c1 b2"},
		{journal.StartNew(), "a3"},
	} {
		now := start()
		l := newLog(t, journal.Options{})
		for _, p := range []string{"b1", "a1", "a2", "c1", "b2"} {
			publish(t, l, now, journal.Message{Topic: "t", Key: p[:1], Payload: []byte(p)})
		}
		s := subscribe(t, l, now, journal.Subscription{Class: journal.Latest, Start: tt.start})
		publish(t, l, now, journal.Message{Topic: "t", Key: "a", Payload: []byte("a3")})
		got := strings.Fields(s.read(now))
		want := strings.Fields(tt.want)
		if len(got) != len(want) {
			t.Errorf("%+v: read %q, want %q in any order", tt.start, got, want)
		}
		for _, w := range want {
			if !strings.Contains(" "+strings.Join(got, " ")+" ", " "+w+" ") {
				t.Errorf("%+v: read %q, want %q in any order", tt.start, got, want)
			}
		}
	}
}

func TestStartBeyondTheRingIsTold(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{Age: 10 * time.Second})
	publish(t, l, now, say("t", "a", "b", "c")...)
	now = now.Add(8 * time.Second)
	publish(t, l, now, say("t", "d", "e")...)
	now = now.Add(8 * time.Second)
	l.Tick(now)
	for _, tt := range []struct {
		name  string
		start journal.Start
		want  string
	}{
		{"position", journal.StartAt(at(1, 1)), "(retention 2-3) d e"},
		{"position just in it", journal.StartAt(at(1, 3)), "d e"},
		{"restart", journal.StartAt(at(9, 1)), "(restart 0-0) (retention 1-3) d e"},
		{"time", journal.StartTime(start()), "(retention 1-3) d e"},
		{"time in it", journal.StartTime(start().Add(time.Second)), "d e"},
		{"all", journal.StartAll(), "d e"},
		{"last", journal.StartLast(4), "d e"},
	} {
		for _, class := range []journal.Class{journal.BestEffort, journal.Reliable} {
			s := subscribe(t, l, now, journal.Subscription{Class: class, Start: tt.start})
			if got := s.read(now); got != tt.want {
				t.Errorf("%v from %s: read %q, want %q", class, tt.name, got, tt.want)
			}
		}
	}
}

func TestLongHistoryIsReadInSteps(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	publish(t, l, now, say("rare", "first")...)
	for range 20_000 {
		publish(t, l, now, say("t", "x")...)
	}
	for _, s := range []journal.Start{journal.StartAll(), journal.StartLast(1), journal.StartLastPerKey()} {
		c := subscribe(t, l, now, journal.Subscription{Patterns: []string{"rare"}, Start: s})
		if got := c.fill(now, 1000, 10); got == "first" && s != journal.StartAll() || !c.more {
			t.Errorf("the first Fill reads %q, more %v", got, c.more)
		}
		c.read(now)
		if st := c.Stats(now); st.Messages != 1 {
			t.Errorf("read %d messages", st.Messages)
		}
	}
}

func TestImpossibleStarts(t *testing.T) {
	l := newLog(t, journal.Options{})
	for _, s := range []journal.Start{journal.StartLast(0), journal.StartLast(-1), journal.StartAt(at(1, 1))} {
		_, err := l.Subscribe(journal.Subscription{Patterns: []string{">"}, Start: s}, start())
		if _, ok := errors.AsType[*journal.OptionError](err); !ok {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if st := l.Stats(); st.Subscriptions != 0 {
		t.Errorf("%d subscriptions were left", st.Subscriptions)
	}
}

func TestWithoutHistoryNothingIsKeptForNobody(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{NoHistory: true})
	for range 1000 {
		publish(t, l, now, say("t", "x")...)
	}
	if st := l.Stats(); st.Bytes != 0 || st.Next != 1001 || st.First != 1001 {
		t.Errorf("%+v", st)
	}
	s := subscribe(t, l, now, journal.Subscription{Patterns: []string{"t"}})
	publish(t, l, now, say("t", "a")...)
	publish(t, l, now, say("other", "x")...)
	all := subscribe(t, l, now, journal.Subscription{Start: journal.StartAt(at(1, 999)), Class: journal.Reliable})
	publish(t, l, now, say("t", "b")...)
	s.want(now, "a b")
	all.want(now, "(retention 1000-1000) a (retention 1002-1002 x1) b")
	keyed := subscribe(t, l, now, journal.Subscription{Start: journal.StartAll(), Keys: []string{"k"}})
	keyed.want(now, "")
}

func TestStartBeforeTheRingIsTold(t *testing.T) {
	for name, tt := range map[string]struct {
		start journal.Start
		want  string
	}{
		"number": {journal.StartSeq(2), "(retention 2-2) 3 4"},
		"feed":   {journal.StartFeed(10), "(retention 1-2) 3 4"},
	} {
		now := start()
		l := newLog(t, journal.Options{Age: time.Minute})
		for i := range 4 {
			if i == 2 {
				now = now.Add(2 * time.Minute)
			}
			publish(t, l, now, journal.Message{Topic: "t", Payload: []byte{'1' + byte(i)}, Feed: uint64(i+1) * 10})
		}
		subscribe(t, l, now, journal.Subscription{Class: journal.Reliable, Start: tt.start}).want(now, tt.want)
		if t.Failed() {
			t.Log(name)
		}
	}
}

// TestWhatIsToComeAgainDoesNotStopPublishers checks that messages that are to come again are looked
// for without the log's lock. The last number of a long list is wrong, which is found without it.
func TestWhatIsToComeAgainDoesNotStopPublishers(t *testing.T) { // SEC-723
	l := newLog(t, journal.Options{})
	const n = 3000
	for range n {
		publish(t, l, start(), say("t", "x")...)
	}
	again := []journal.Range{{From: 1, To: n}, {From: n + 1, To: n + 1}}
	sub := journal.Subscription{Patterns: []string{"t"}, Class: journal.AtLeastOnce, Start: journal.StartAt(at(l.Epoch(), n)), Again: again}
	l.WhileLocked(func() {
		if _, err := l.Subscribe(sub, start()); err == nil || !strings.Contains(err.Error(), "was not published yet") {
			t.Errorf("a message that is to come again and was not published: %v", err)
		}
	})
	sub.Again = again[:1]
	s := subscribe(t, l, start(), sub)
	if _, got, _, err := s.Fill(nil, 1<<20, n, start()); err != nil || got == 0 {
		t.Errorf("%d messages come again, %v", got, err)
	}
}
