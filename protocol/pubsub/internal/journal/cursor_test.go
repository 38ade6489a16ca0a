package journal_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

func TestGapsStandWhereMessagesAreMissing(t *testing.T) {
	now := start()
	limit := journal.Limits{Messages: 2}
	for _, tt := range []struct {
		name string
		sub  journal.Subscription
		want string
	}{
		{"oldest", journal.Subscription{Limits: limit}, "(overflow 1-3 x3) d e"},
		{"newest", journal.Subscription{Limits: limit, Overflow: journal.DropNewest}, "a b (overflow 3-5 x3)"},
		{"bytes", journal.Subscription{Limits: journal.Limits{Bytes: 40}}, "(overflow 1-3 x3) d e"},
		{"all, too large each", journal.Subscription{Limits: journal.Limits{Bytes: 1}}, "(overflow 1-5 x5)"},
		{"keys of others do not count", journal.Subscription{Limits: limit, Keys: []string{"k"}}, "b d"},
		{"patterns too", journal.Subscription{Limits: limit, Patterns: []string{"t.1", "t.*.x"}}, "b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLog(t, journal.Options{})
			s := subscribe(t, l, now, tt.sub)
			for i, p := range []string{"a", "b", "c", "d", "e"} {
				m := journal.Message{Topic: fmt.Sprintf("t.%d", i), Payload: []byte(p)}
				if i%2 == 1 {
					m.Key = "k"
				}
				publish(t, l, now, m)
			}
			s.want(now, tt.want)
			s.want(now, "")
		})
	}
}

func TestDropNewestTellsBetweenMessages(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Limits: journal.Limits{Messages: 2}, Overflow: journal.DropNewest})
	publish(t, l, now, say("t", "a", "b", "c", "d")...)
	if got := s.fill(now, 1000, 1); got != "a" {
		t.Fatal(got)
	}
	publish(t, l, now, say("t", "e", "f")...)
	s.want(now, "b (overflow 3-4 x2) e (overflow 6-6 x1)")
}

func TestReportSaysWhatBecameOfAMessage(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	subscribe(t, l, now, journal.Subscription{Limits: journal.Limits{Messages: 1}})
	subscribe(t, l, now, journal.Subscription{Limits: journal.Limits{Messages: 1}, Overflow: journal.DropNewest})
	subscribe(t, l, now, journal.Subscription{Patterns: []string{"other"}})
	subscribe(t, l, now, journal.Subscription{Patterns: []string{"t", ">"}})
	for i, want := range []journal.Report{{Matched: 3, Queued: 3}, {Matched: 3, Queued: 2, Dropped: 2}} {
		got, err := l.Append(journal.Message{Topic: "t"}, now)
		if err != nil || got != want {
			t.Errorf("message %d: %+v, %v, want %+v", i, got, err, want)
		}
	}
}

func TestExpiredMessagesAreTold(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{})
	for i, ttl := range []time.Duration{0, time.Second, 2 * time.Second, time.Second, 0} {
		publish(t, l, now, journal.Message{Topic: "t", TTL: ttl, Payload: []byte{'a' + byte(i)}})
	}
	s.want(now.Add(time.Second), "a (ttl 2-2 x1) c (ttl 4-4 x1) e")
}

func TestOldMessagesAreTold(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	publish(t, l, now, say("t", "old")...)
	s := subscribe(t, l, now, journal.Subscription{Start: journal.StartAll()})
	publish(t, l, now, say("t", "a", "b")...)
	now = now.Add(journal.DefaultBacklogAge + 1)
	publish(t, l, now, say("t", "c")...)
	// Messages from before the subscription are not backlog, so their age has no limit.
	s.want(now, "old (overflow 2-3 x2) c")
}

func TestLanesTakeTurns(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{})
	for range 20 {
		for _, p := range []uint8{1, 128, 255} {
			publish(t, l, now, journal.Message{Topic: "t", Priority: p, Payload: []byte(map[uint8]string{1: "l", 128: "n", 255: "h"}[p])})
		}
	}
	got := strings.ReplaceAll(s.read(now), " ", "")
	turn := "hhhhhhhhnnnnl"
	want := turn + turn + "hhhhnnnnl" + "nnnnl" + "nnnnl" + strings.Repeat("l", 15)
	if got != want {
		t.Errorf("read %s, want %s", got, want)
	}
}

func TestOverflowTakesFromTheLowestLane(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Limits: journal.Limits{Messages: 2}})
	for _, m := range []struct {
		payload  string
		priority uint8
	}{{"l1", 1}, {"n2", 128}, {"h3", 255}, {"h4", 255}, {"l5", 1}, {"n6", 128}} {
		publish(t, l, now, journal.Message{Topic: "t", Priority: m.priority, Payload: []byte(m.payload)})
	}
	s.want(now, "h3 h4 (overflow 2-6 x2) (overflow 1-5 x2)")
}

func TestFillKeepsToItsLimits(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Limits: journal.Limits{Bytes: 1 << 20}})
	s.read(now)
	var want []string
	for i := range 40 {
		p := strings.Repeat(string(rune('a'+i%26)), 1+i*37%500)
		if i == 20 {
			p = strings.Repeat("x", 40_000)
		}
		want = append(want, p)
		publish(t, l, now, say("t", p)...)
	}
	var got []string
	for s.more = true; s.more; {
		prefix := []byte("prefix")
		frame, n, more, err := s.Fill(prefix, 600, 3, now)
		if err != nil || n > 3 || string(frame[:len(prefix)]) != "prefix" || n > 1 && len(frame) > len(prefix)+600 {
			t.Fatalf("%d messages in %d bytes, %v", n, len(frame), err)
		}
		words, _ := s.decode(frame[len(prefix):])
		got = append(got, words...)
		s.more = more
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%d of %d messages", len(got), len(want))
	}
	publish(t, l, now, say("t", "a")...)
	if got := s.fill(now, 1000, 0); got != "" || !s.more {
		t.Errorf("without credit it writes %q, more %v", got, s.more)
	}
}

func TestReadyFollowsAnEmptyFill(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Patterns: []string{"t"}})
	publish(t, l, now, say("t", "a")...)
	if s.ready() {
		t.Error("ready before the first Fill")
	}
	s.want(now, "a")
	publish(t, l, now, say("other", "x")...)
	if s.ready() {
		t.Error("ready for a message of others")
	}
	publish(t, l, now, say("t", "b", "c")...)
	if !s.ready() || s.ready() {
		t.Error("not ready once")
	}
	s.want(now, "b c")
	s.Close(now)
	if !s.ready() {
		t.Error("not ready after Close")
	}
	if _, _, _, err := s.Fill(nil, 10, 10, now); !errors.Is(err, journal.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	s.Close(now)
	if r, err := l.Append(journal.Message{Topic: "t"}, now); err != nil || r.Matched != 0 {
		t.Errorf("after Close: %+v, %v", r, err)
	}
	if st := l.Stats(); st.Subscriptions != 0 || st.Next != 6 {
		t.Errorf("after Close: %+v", st)
	}
}

func TestMarksTellHowFarASubscriberIs(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	publish(t, l, now, say("t", "a", "b")...)
	s := subscribe(t, l, now, journal.Subscription{Patterns: []string{"t"}, Start: journal.StartAll()})
	s.marks = true
	if s.Live() != 3 {
		t.Errorf("live from %d", s.Live())
	}
	publish(t, l, now, say("t", "c")...)
	s.want(now, "a b [1 to 2] c")
	publish(t, l, now, say("other", "x", "y")...)
	s.want(now, "")
	words, _ := s.decode(s.Mark(nil))
	if got := strings.Join(words, " "); got != "[2 to 5]" {
		t.Errorf("mark %q", got)
	}
	if got, want := s.Position(), (journal.Position{Epoch: 1, Seq: [3]uint64{5, 5, 5}}); got != want {
		t.Errorf("position %+v, want %+v", got, want)
	}
	for range 5000 {
		publish(t, l, now, say("other", "x")...)
	}
	s.want(now, "[2 to 5005]")
	publish(t, l, now, say("t", "d")...)
	words, _ = s.decode(s.Mark(nil))
	if got := strings.Join(words, " "); got != "[2 to 5005]" {
		t.Errorf("mark %q before the message", got)
	}
}

func TestStatsShowTheLag(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Limits: journal.Limits{Messages: 3}})
	s.read(now)
	now = now.Add(time.Minute)
	published := now
	publish(t, l, now, say("t", "a", "b")...)
	publish(t, l, now, journal.Message{Topic: "t", TTL: time.Second}, journal.Message{Topic: "t"})
	now = now.Add(2 * time.Second)
	st := s.Stats(now)
	if st.Lag.Messages != 3 || st.Lag.Bytes < 3*14 || st.Lag.Bytes > 3*48 || st.Lag.Age != 2*time.Second || !st.Lag.Exact || !st.StuckSince.Equal(published) {
		t.Errorf("%+v", st)
	}
	s.fill(now, 1000, 1)
	if st = s.Stats(now); st.Lag.Messages != 1 || !st.StuckSince.Equal(now) || st.Messages != 1 || st.Gaps[journal.ReasonOverflow] != 1 {
		t.Errorf("%+v", st)
	}
	s.read(now)
	if st = s.Stats(now); st.Lag != (journal.Lag{Exact: true}) || !st.StuckSince.IsZero() || st.Messages != 2 || st.Gaps[journal.ReasonExpired] != 1 {
		t.Errorf("%+v", st)
	}
}

func TestATTLOfCenturiesIsForEver(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{})
	now = now.Add(time.Second)
	publish(t, l, now, journal.Message{Topic: "t", TTL: math.MaxInt64, Payload: []byte("a")})
	s.want(now, "a")
}
