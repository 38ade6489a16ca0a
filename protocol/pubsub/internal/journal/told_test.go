package journal_test

import (
	"fmt"
	"testing"
	"time"

	pool "github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestGapsThatWereToldLeaveOthersTheirWindows: subscriptions that ask for thousands of single
// messages once more, which are not kept any more, and never say that they heard so, leave a
// window of another subscriber as much as it wants; and what they were told is told again.
func TestGapsThatWereToldLeaveOthersTheirWindows(t *testing.T) { // SEC-401
	const unacked, subscriptions = 64 << 20, 400
	now := start()
	l := newLog(t, journal.Options{Unacked: unacked, Age: time.Minute})
	publish(t, l, now, say("t", numbers(1, 2*journal.MaxAgain)...)...)
	sub := journal.Subscription{
		Class: journal.AtLeastOnce, Who: pool.Key{Name: "mallory"}, Patterns: []string{"t"},
		Start: journal.StartAt(journal.Position{Epoch: l.Epoch(), Seq: [journal.Lanes]uint64{0, 2 * journal.MaxAgain, 0}}),
	}
	for seq := uint64(2); seq <= 2*journal.MaxAgain; seq += 2 {
		sub.Again = append(sub.Again, journal.Range{From: seq, To: seq})
	}
	honest := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Who: pool.Key{Name: "billing"}, Patterns: []string{"u"}})
	now = now.Add(2 * time.Minute)
	publish(t, l, now, say("other", "x")...)
	for i := range subscriptions {
		sub.ID = fmt.Sprint(i)
		if _, missing := account(t, subscribe(t, l, now, sub), now); missing < journal.MaxAgain {
			t.Fatalf("subscription %d is told of %d messages, want at least %d", i, missing, journal.MaxAgain)
		}
	}
	t.Logf("%d KiB of %d are counted", l.Stats().Unacked>>10, unacked>>10)
	if held := l.Stats().Unacked; held > unacked/2+unacked/8 || held < unacked/8 {
		t.Errorf("one subscriber has %d of %d", held, unacked)
	}
	for range 600 {
		publish(t, l, now, journal.Message{Topic: "u", Payload: make([]byte, 16<<10)})
	}
	account(t, honest, now)
	if st := honest.Stats(now); st.UnackedBytes < journal.DefaultWindowBytes-(17<<10) {
		t.Errorf("another one has %d bytes, want its window of %d", st.UnackedBytes, journal.DefaultWindowBytes)
	}
	for _, id := range []string{"0", fmt.Sprint(subscriptions - 1)} {
		c, err := l.Resume(id, "", 0, now)
		if err != nil {
			t.Fatal(err)
		}
		s := &stream{TB: t, Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
		if _, missing := account(t, s, now); missing < journal.MaxAgain {
			t.Errorf("session %s is told again of %d messages, want at least %d", id, missing, journal.MaxAgain)
		}
	}
}

// TestWhatDoesNotComeAgainIsToldByNumberWhereGapsBecomeFew: a subscriber whose part of Options.Unacked
// is in use, and whose connection is lost while it is told of single messages that do not come
// again, is told of each of them once more, so that it waits for none, whatever its lane.
func TestWhatDoesNotComeAgainIsToldByNumberWhereGapsBecomeFew(t *testing.T) {
	for name, c := range map[string]struct {
		again []uint64
		want  string
	}{
		"apart":        {[]uint64{50, 60, 70, 80}, "(retention 50-50 x1) (retention 60-60 x1) (retention 70-70 x1) (retention 80-80 x1)"},
		"side by side": {[]uint64{50, 51, 52, 80}, "(retention 50-52 x3) (retention 80-80 x1)"},
	} {
		t.Run(name, func(t *testing.T) {
			now := start()
			l := newLog(t, journal.Options{Unacked: 1, Age: time.Minute})
			publish(t, l, now, say("t", numbers(1, 100)...)...)
			now = now.Add(2 * time.Minute)
			publish(t, l, now, say("other", "x")...)
			sub := journal.Subscription{
				Class: journal.AtLeastOnce, ID: "s", Patterns: []string{"t"}, Start: journal.StartAt(journal.Position{Epoch: l.Epoch(), Seq: [journal.Lanes]uint64{100, 100, 100}}),
			}
			for _, seq := range c.again {
				sub.Again = append(sub.Again, journal.Range{From: seq, To: seq})
			}
			s := subscribe(t, l, now, sub)
			s.read(now)
			for range 2 { // the first time they are not few yet
				s.Detach(now)
				r, err := l.Resume("s", "", 0, now)
				if err != nil {
					t.Fatal(err)
				}
				s = &stream{TB: t, Cursor: r, reader: journal.NewReader(journal.ReaderLimits{})}
				s.want(now, c.want)
			}
		})
	}
}
