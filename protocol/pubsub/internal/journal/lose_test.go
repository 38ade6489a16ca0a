package journal_test

import (
	"errors"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestALostMemberIsNotAwaited: what it had goes to another at once. Its session ends, unless it has a name that
// others may go on with. One that is only disconnected has HandOver to come back.
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
			a.HandOver(now.Add(journal.HandOver)) // nothing is left of it
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

// TestAGapAfterAHandOverIsToldToSomebody: what a member was told of before it is the others' now,
// and it counts on from there when it comes back.
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
	gap("(ttl 1-1 x1)") // which arrives
	sub.ID = "b"
	b := subscribe(t, l, now, sub)
	a.Detach(now)
	now = now.Add(journal.HandOver)
	a.HandOver(now)
	b.want(now, "(ttl 1-1 x1)") // which nobody knew
	b.Close(now)
	resume(1)
	a.want(now, "(ttl 1-1 x1)") // which b may not have received
	gap("(ttl 2-2 x1)")
	resume(2) // the last one did not arrive
	a.want(now, "(ttl 2-2 x1)")
	resume(3)
	a.want(now, "")
}
