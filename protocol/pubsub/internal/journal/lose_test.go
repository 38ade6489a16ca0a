package journal_test

import (
	"errors"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestALostMemberIsNotAwaited checks that the messages of a lost member go to another one at once. Its session ends,
// unless it has a name under which others may resume it. A member that is only disconnected has HandOver to come back.
func TestALostMemberIsNotAwaited(t *testing.T) {
	for name, named := range map[string]bool{"session": false, "name": true} {
		t.Run(name, func(t *testing.T) {
			now := start()
			l := newLog(t, journal.Options{})
			sub := journal.Subscription{Class: journal.AtLeastOnce, Group: "g", ID: "a", Patterns: []string{">"}}
			a := subscribe(t, l, now, sub)
			sub.ID = "b"
			publish(t, l, now, say("t", "1", "2")...)
			a.want(now, "1 2")
			b := subscribe(t, l, now, sub)
			a.Lose(now, named)
			b.want(now, "1#2 2#2")
			// The member has nothing left to hand over, so this does nothing.
			a.HandOver(now.Add(journal.HandOver))
			_, err := l.Resume("a", "", 0, now)
			if kept := err == nil; kept != named || !named && !errors.Is(err, journal.ErrNoSession) {
				t.Errorf("resuming it: %v, want that it is kept: %t", err, named)
			}
		})
	}
}

func TestADisconnectedMemberHasAMoment(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	sub := journal.Subscription{Class: journal.AtLeastOnce, Group: "g", ID: "a", Patterns: []string{">"}}
	a := subscribe(t, l, now, sub)
	publish(t, l, now, say("t", "1")...)
	a.want(now, "1")
	sub.ID = "b"
	b := subscribe(t, l, now, sub)
	now = now.Add(time.Second)
	a.Detach(now)
	a.HandOver(now.Add(journal.HandOver - 1))
	b.want(now, "")
	a.HandOver(now.Add(journal.HandOver))
	b.want(now.Add(journal.HandOver), "1#2")
}

// TestAGapAfterAHandOverIsToldToSomebody checks that gaps that a member was told of before a hand-over
// are told to the others, and that its count of received gaps still holds when it resumes.
func TestAGapAfterAHandOverIsToldToSomebody(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	sub := journal.Subscription{Class: journal.AtLeastOnce, Group: "g", ID: "a", Patterns: []string{">"}}
	a := subscribe(t, l, now, sub)
	resume := func(heard uint64) {
		t.Helper()
		a.Detach(now)
		c, err := l.Resume("a", "", heard, now)
		if err != nil {
			t.Fatal(err)
		}
		a = &stream{TB: t, Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
	}
	gap := func(want string) {
		t.Helper()
		publish(t, l, now, journal.Message{Topic: "t", TTL: time.Second})
		now = now.Add(time.Second)
		a.want(now, want)
	}
	// This gap arrives, but the publisher does not know that.
	gap("(ttl 1-1 x1)")
	sub.ID = "b"
	b := subscribe(t, l, now, sub)
	a.Detach(now)
	now = now.Add(journal.HandOver)
	a.HandOver(now)
	b.want(now, "(ttl 1-1 x1)")
	b.Close(now)
	resume(1)
	// It is unknown whether b has received the gap.
	a.want(now, "(ttl 1-1 x1)")
	gap("(ttl 2-2 x1)")
	// Of the three gaps, the last one did not arrive.
	resume(2)
	a.want(now, "(ttl 2-2 x1)")
	resume(3)
	a.want(now, "")
}
