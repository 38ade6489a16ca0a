package journal_test

import (
	"fmt"
	"testing"
	"time"

	pool "github.com/linkmesh/link/internal/share"
	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// crowd returns a log in which mallory uses all of its part of Options.Backlog.
func crowd(t *testing.T) *journal.Log {
	t.Helper()
	l := newLog(t, journal.Options{Backlog: 1 << 20})
	l.Crowd(pool.Key{Name: "mallory"})
	return l
}

// inGroup returns the subscription of a member of group g whose identity is who.
func inGroup(class journal.Class, who string) journal.Subscription {
	sub := journal.Subscription{Who: pool.Key{Name: who}, Class: class, Patterns: []string{"t"}, Group: "g", Credit: journal.MaxCredit, Limits: journal.Limits{Messages: 10_000}}
	if class == journal.BestEffort {
		sub.Limits.Bytes, sub.Limits.Age = 1<<30, time.Hour
	}
	return sub
}

// TestAMemberWithoutRoomDoesNotHoldUpItsGroup checks that a member that reads nothing, and has as
// much as it may, gets no more messages. All others go to the member that reads, which is also told
// of those that have expired.
func TestAMemberWithoutRoomDoesNotHoldUpItsGroup(t *testing.T) { // SEC-402
	// most is how many messages a member without room may have.
	const messages, most = 4000, 512
	for _, class := range []journal.Class{journal.BestEffort, journal.AtLeastOnce} {
		t.Run(fmt.Sprint(class, ", messages"), func(t *testing.T) {
			now := start()
			l := crowd(t)
			a := subscribe(t, l, now, inGroup(class, "mallory"))
			b := subscribe(t, l, now, inGroup(class, "billing"))
			for range messages {
				publish(t, l, now, say("t", "x")...)
			}
			came, missing := account(t, b, now)
			if came < messages-most || missing > 0 {
				t.Errorf("the member that reads gets %d messages of %d, and %d are missing", came, messages, missing)
			}
			if rest, missing := account(t, a, now); came+rest != messages || missing > 0 {
				t.Errorf("then the other one gets %d messages, and %d are missing", rest, missing)
			}
		})
		t.Run(fmt.Sprint(class, ", gaps"), func(t *testing.T) {
			now := start()
			l := crowd(t)
			a := subscribe(t, l, now, inGroup(class, "mallory"))
			for range messages {
				publish(t, l, now, journal.Message{Topic: "t", TTL: time.Second})
			}
			now = now.Add(2 * time.Second)
			b := subscribe(t, l, now, inGroup(class, "billing"))
			publish(t, l, now, say("t", numbers(1, 10)...)...)
			came, missing := account(t, b, now)
			if came != 10 || missing < messages-most {
				t.Errorf("the member that reads gets %d messages, and is told of %d, want 10 and at least %d", came, missing, messages-most)
			}
			if came, rest := account(t, a, now); came != 0 || missing+rest != messages {
				t.Errorf("then the other one gets %d messages, and is told of %d", came, rest)
			}
		})
	}
}
