package journal_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	pool "github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// account reads all there is, and returns how many messages came and how many are told to be missing.
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

// TestBacklogsOfAnIdentityShareABound: many subscriptions that read nothing and have the largest
// limits take no more than their identity's part, whatever their class; what is dropped for it is
// told; and another one's backlog is as large as it wants.
func TestBacklogsOfAnIdentityShareABound(t *testing.T) { // SEC-391
	const bound, subscriptions, messages = 1 << 20, 48, 10_000
	for name, sub := range map[string]journal.Subscription{
		"oldest":           {},
		"newest":           {Overflow: journal.DropNewest},
		"group":            {Group: "g", Credit: journal.MaxCredit},
		"group, with keys": {Group: "g", Patterns: []string{"keyed.>"}},
		"latest":           {Class: journal.Latest},
		"reliable":         {Class: journal.Reliable},
		"at least once":    {Class: journal.AtLeastOnce, Group: "g", Credit: journal.MaxCredit},
	} {
		t.Run(name, func(t *testing.T) {
			now := start()
			l := newLog(t, journal.Options{Backlog: bound, Unacked: 64 << 20})
			if sub.Class == journal.BestEffort {
				sub.Limits = journal.Limits{Messages: journal.MaxBacklog, Bytes: 1 << 30, Age: time.Hour}
			}
			if sub.Class == journal.AtLeastOnce {
				sub.Limits = journal.Limits{Messages: journal.MaxWindow}
			}
			sub.Who = pool.Key{Name: "mallory"}
			group := sub.Group
			before := heap()
			var all []*stream
			for i := range subscriptions {
				if group != "" {
					sub.Group = fmt.Sprint(group, i)
				}
				all = append(all, subscribe(t, l, now, sub))
			}
			other := subscribe(t, l, now, journal.Subscription{
				Who: pool.Key{Name: "billing"}, Limits: journal.Limits{Messages: messages, Bytes: 1 << 30, Age: time.Hour},
			})
			for i := range messages {
				publish(t, l, now, journal.Message{Topic: fmt.Sprint("keyed.", i%100), Key: fmt.Sprint(i)})
			}
			grown := heap() - before - int64(l.Stats().Bytes)
			t.Logf("%d KiB are counted, %d KiB are in use beside the ring", l.Stats().Backlog>>10, grown>>10)
			if got := l.Stats().Backlog; got > bound*3/4 {
				t.Errorf("%d bytes of backlogs are counted, of %d", got, bound)
			}
			if most := int64(bound + subscriptions*(64<<10)); grown > most {
				t.Errorf("%d KiB are in use beside the ring, want at most %d", grown>>10, most>>10)
			}
			if l.Stats().Crowded == 0 && sub.Class != journal.Reliable {
				t.Error("nothing was counted as refused")
			}
			if came, missing := account(t, other, now); came != messages || missing != 0 {
				t.Errorf("another one gets %d messages, and %d are missing, of %d", came, missing, messages)
			}
			for _, s := range all[:4] {
				if came, missing := account(t, s, now); came+missing != messages && sub.Class != journal.AtLeastOnce {
					t.Errorf("%d messages came and %d are told to be missing, of %d", came, missing, messages)
				}
			}
			for _, s := range append(all, other) {
				s.Close(now)
			}
			if got := l.Stats().Backlog; got != 0 {
				t.Errorf("%d bytes are counted of nobody", got)
			}
			runtime.KeepAlive(all)
		})
	}
}

// TestABacklogGoesWithItsSession to the cursor that goes on with it, and with a member that leaves.
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
	for range journal.MaxMembers + 1 { // the last one is refused
		_, err = l.Subscribe(sub, now)
	}
	if !isLimit(err) || l.Stats().Backlog != 0 {
		t.Errorf("one member too many: %v; %d bytes are counted", err, l.Stats().Backlog)
	}
}

// TestWhatAMemberHadIsToldWithoutACount if there was no room to remember all of it.
func TestWhatAMemberHadIsToldWithoutACount(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{Backlog: 1})
	sub := journal.Subscription{Patterns: []string{"t"}, Group: "g", Credit: 10_000, Limits: journal.Limits{Messages: 10_000, Age: time.Hour}}
	a := subscribe(t, l, now, sub)
	const messages = 3000
	for range messages {
		publish(t, l, now, say("t", "x")...)
		a.read(now)
	}
	b := subscribe(t, l, now, sub)
	a.Detach(now)
	got := b.read(now)
	var from, to int
	if n, err := fmt.Sscanf(got, "(lost %d-%d)", &from, &to); n != 2 || err != nil || to != messages || from < messages/2 {
		t.Errorf("the other member is told %q, want of the last ones, up to %d, without a count", got, messages)
	}
}

// TestWhatMembersGaveBackCountsOn: a member that takes as much as it may and leaves, in one group
// after the other whose other member takes nothing, leaves no more than its identity's part.
func TestWhatMembersGaveBackCountsOn(t *testing.T) { // SEC-400
	const bound, groups = 1 << 20, 24
	for name, c := range map[string]struct {
		class    journal.Class
		messages int
		sent     bool // what it leaves was sent to it, and it never said that it read it
	}{
		"best effort":       {journal.BestEffort, 10_000, false},
		"best effort, sent": {journal.BestEffort, 2000, true}, // no more than are remembered of what was sent
		"at least once":     {journal.AtLeastOnce, 10_000, false},
	} {
		t.Run(name, func(t *testing.T) {
			now := start()
			l := newLog(t, journal.Options{Backlog: bound})
			sub := journal.Subscription{
				Who: pool.Key{Name: "mallory"}, Class: c.class, Limits: journal.Limits{Messages: journal.MaxWindow, Bytes: journal.MaxWindowBytes, Age: time.Hour},
			}
			before := heap()
			var stay []*stream
			for i := range groups {
				topic := fmt.Sprint("t", i)
				sub.Group, sub.Credit, sub.Patterns = "g", 1, []string{topic}
				stay = append(stay, subscribe(t, l, now, sub))
				sub.Credit = journal.MaxCredit
				leaves := subscribe(t, l, now, sub)
				for range c.messages {
					publish(t, l, now, say(topic, "x")...)
				}
				if c.sent {
					account(t, leaves, now)
				}
				leaves.Close(now)
			}
			grown := heap() - before - int64(l.Stats().Bytes)
			t.Logf("%d KiB are counted, %d KiB are in use beside the ring", l.Stats().Backlog>>10, grown>>10)
			if got := l.Stats().Backlog; got < bound/4 || got > bound*7/8 {
				t.Errorf("%d bytes of backlogs are counted, of %d", got, bound)
			}
			if most := int64(bound + groups*(64<<10)); grown > most {
				t.Errorf("%d KiB are in use beside the ring, want at most %d", grown>>10, most>>10)
			}
			if came, missing := account(t, stay[0], now); came+missing == 0 {
				t.Error("the member that stayed gets nothing")
			}
			for i, s := range stay {
				if s.AddCredit(journal.MaxCredit, now); i%2 == 0 {
					account(t, s, now) // the others close with all of it
				}
				s.Close(now)
			}
			if got := l.Stats().Backlog; got != 0 {
				t.Errorf("%d bytes are counted of nobody", got)
			}
			runtime.KeepAlive(stay)
		})
	}
}

// TestMembersWithoutRoomAreAskedSeldom: publishers wait while those who may get a message are looked at, so a member that
// had no room is asked for it again when it has taken something.
func TestMembersWithoutRoomAreAskedSeldom(t *testing.T) { // SEC-402
	const members, free, more = 64, 256, 1000 // free is how many messages a member has for nothing
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
