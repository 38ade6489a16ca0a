package journal_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

func TestLatestReplacesByTopicAndKey(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.Latest})
	for _, m := range []struct{ topic, key, payload string }{
		{"t", "", "a"}, {"t", "k", "b"}, {"u", "k", "c"}, {"t", "k", "d"}, {"t", "", "e"}, {"t", "k", "f"},
	} {
		publish(t, l, now, journal.Message{Topic: m.topic, Key: m.key, Payload: []byte(m.payload)})
	}
	// f has taken the place of b: a key that changes often is not delivered later.
	s.want(now, "(conflated 1-4 x3) e f c")
	publish(t, l, now, say("t", "g")...)
	s.want(now, "g")
}

func TestLatestDeliversAKeyThatChangesAllTheTime(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.Latest})
	for i := range 100 {
		publish(t, l, now, journal.Message{Topic: "t", Key: fmt.Sprint(i), Payload: []byte("cold")})
	}
	publish(t, l, now, say("hot", "hot")...)
	for i := range 102 {
		if strings.Contains(s.fill(now, 1000, 1), "hot") {
			return
		}
		for range 3 {
			publish(t, l, now, journal.Message{Topic: "t", Key: fmt.Sprint(i), Payload: []byte("cold")})
			publish(t, l, now, say("hot", "hot")...)
		}
	}
	t.Error("it did not come in its turn")
}

func TestLatestHasAMostOfKeys(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.Latest, Limits: journal.Limits{Messages: 3}})
	for i := range 5 {
		publish(t, l, now, journal.Message{Topic: "t", Key: fmt.Sprint(i), Payload: fmt.Append(nil, i)})
	}
	s.want(now, "(overflow 1-2 x2) 2 3 4")
	if st := s.Stats(now); st.Lag.Messages != 0 {
		t.Errorf("%+v", st)
	}
}

func TestResumedLatestFiltersWhatItHas(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.Latest})
	tracker := journal.NewTracker(journal.Latest, s.Position())
	for i := range 4 {
		publish(t, l, now, journal.Message{Topic: "t", Key: fmt.Sprint(i), Payload: fmt.Append(nil, "old", i)})
	}
	// The first key changes again, so its message is ahead of those still to come.
	publish(t, l, now, journal.Message{Topic: "t", Key: "0", Payload: []byte("new0")})
	observe := func(most int) (fresh []string) {
		frame, _, _, err := s.Fill(nil, 1000, most, now)
		if err != nil {
			t.Fatal(err)
		}
		s.reader.Reset(frame)
		var rec journal.Record
		for {
			ok, err := s.reader.Next(&rec)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return fresh
			}
			if tracker.Observe(&rec) && rec.Kind == journal.KindMessage {
				fresh = append(fresh, string(rec.Payload))
			}
		}
	}
	if got := strings.Join(observe(2), " "); got != "new0 old1" {
		t.Fatal(got)
	}
	s.Close(now)
	s = subscribe(t, l, now, journal.Subscription{Class: journal.Latest, Start: journal.StartAt(tracker.Position())})
	tracker.Restart(1)
	if got := strings.Join(observe(10), " "); got != "old2 old3" {
		t.Errorf("after the resume %q is new", got)
	}
	if got := tracker.Position(); got != at(1, 5) {
		t.Errorf("position %+v", got)
	}
}

func TestTrackerForgetsWhatIsBehindIt(t *testing.T) {
	tracker := journal.NewTracker(journal.Latest, at(1, 0))
	message := func(seq uint64) bool {
		return tracker.Observe(&journal.Record{Kind: journal.KindMessage, Seq: seq})
	}
	mark := func(seq uint64) {
		tracker.Observe(&journal.Record{Kind: journal.KindMark, Mark: journal.Mark{Kind: journal.MarkProgress, Seq: seq}})
	}
	const window = 1 << 20
	for _, step := range []uint64{1, 63, 64, 65, 1000, window - 1, window, 3 * window} {
		base := tracker.Position().Least()
		for _, n := range []uint64{base + 1, base + 2, base + 64, base + window} {
			if !message(n) {
				t.Errorf("after %d: message %d is not new", base, n)
			}
			if message(n) {
				t.Errorf("after %d: message %d is new again", base, n)
			}
		}
		mark(base + step)
		if got := tracker.Position().Least(); got != base+step {
			t.Fatalf("position %d, want %d", got, base+step)
		}
		if message(base + step) {
			t.Errorf("message %d is new, the position is there", base+step)
		}
		// A number ahead of the mark is still known. The next mark clears it.
		if base+window > base+step && message(base+window) {
			t.Errorf("message %d is new again after a mark at %d", base+window, base+step)
		}
		mark(base + step + 2*window)
	}
	if !message(tracker.Position().Least() + 10*window) {
		t.Error("a message far ahead is not new")
	}
}
