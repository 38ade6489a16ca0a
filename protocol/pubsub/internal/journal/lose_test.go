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
