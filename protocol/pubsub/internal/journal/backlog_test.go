package journal_test

import (
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// account reads until nothing is left. It returns how many messages came and how many the gaps count as missing.
func account(t *testing.T, s *stream, now time.Time) (came, missing uint64) {
	t.Helper()
	for s.more = true; s.more; {
		out, n, more, err := s.Fill(nil, 64<<10, 1024, now)
		if err != nil {
			t.Fatal(err)
		}
		s.more, came = more, came+uint64(n)
		s.reader.Reset(out)
		var rec journal.Record
		for {
			if ok, err := s.reader.Next(&rec); err != nil {
				t.Fatal(err)
			} else if !ok {
				break
			}
			if rec.Kind == journal.KindGap {
				missing += rec.Gap.Count
			}
		}
	}
	return came, missing
}

// TestABacklogGoesWithItsSession checks that the cursor that resumes a session takes over its backlog, and that nothing
// stays counted when a member has left and another has read its messages, or when a member was refused.
func TestABacklogGoesWithItsSession(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	sub := journal.Subscription{
		Class: journal.AtLeastOnce, Patterns: []string{"t"}, Group: "g", ID: "a", Credit: 10_000, Limits: journal.Limits{Messages: 10_000},
	}
	a := subscribe(t, l, now, sub)
	const messages = 5000
	for range messages {
		publish(t, l, now, say("t", "x")...)
	}
	held := l.Stats().Backlog
	a.Detach(now)
	c, err := l.Resume("a", "", 0, now)
	if err != nil {
		t.Fatal(err)
	}
	a = &stream{Cursor: c}
	if got := l.Stats().Backlog; got != held || held < messages*16 {
		t.Errorf("%d bytes are counted when its session goes on, and were %d", got, held)
	}
	sub.ID = "b"
	b := subscribe(t, l, now, sub)
	a.Close(now)
	if came, _ := account(t, b, now); came != messages {
		t.Errorf("the other member gets %d messages, want %d", came, messages)
	}
	if got := l.Stats().Backlog; got != 0 {
		t.Errorf("%d bytes are counted when all is read", got)
	}
	sub.ID, sub.Group, sub.Class, sub.Credit = "", "other", journal.BestEffort, 0
	// The last member is refused.
	for range journal.MaxMembers + 1 {
		_, err = l.Subscribe(sub, now)
	}
	if !isLimit(err) || l.Stats().Backlog != 0 {
		t.Errorf("one member too many: %v; %d bytes are counted", err, l.Stats().Backlog)
	}
}

// TestMembersWithoutRoomAreAskedSeldom checks that a member that had no room is asked again only after it has taken
// something, because publishers wait while a group looks for a member.
func TestMembersWithoutRoomAreAskedSeldom(t *testing.T) { // SEC-402
	// free is how many messages of a member are not counted.
	const members, free, more = 64, 256, 1000
	now := start()
	l := newLog(t, journal.Options{Backlog: 1})
	sub := journal.Subscription{Group: "g", Credit: journal.MaxCredit, Patterns: []string{">"}, Limits: journal.Limits{Messages: 1 << 20, Bytes: 1 << 30}}
	var all []*stream
	for range members {
		all = append(all, subscribe(t, l, now, sub))
	}
	for range members*free + more {
		publish(t, l, now, say("t", "x")...)
	}
	before := l.Stats().Crowded
	if before > 4*members {
		t.Errorf("%d members without room were asked %d times while %d messages came", members, before, more)
	}
	if came, _ := account(t, all[0], now); came <= free {
		t.Errorf("a member that has room again gets %d messages, want more than the %d that it had", came, free)
	}
}
