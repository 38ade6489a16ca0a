package journal_test

import (
	"fmt"
	"testing"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestGroupsWithOtherKeysAreOthers checks that groups of one name with different keys are different
// groups, whatever bytes are in the keys.
func TestGroupsWithOtherKeysAreOthers(t *testing.T) { // SEC-393
	for _, keys := range [][]string{{"a\x00b"}, {"a", "\x00b"}, {"a", "b", ""}, {"a,b"}, {"1 a1 b"}} {
		now := start()
		l := newLog(t, journal.Options{})
		sub := journal.Subscription{Group: "g", Keys: []string{"a", "b"}, Patterns: []string{"t"}}
		first := subscribe(t, l, now, sub)
		sub.Keys = keys
		second := subscribe(t, l, now, sub)
		if n := l.Stats().Subscriptions; n != 2 {
			t.Errorf("%q: %d groups, want 2", keys, n)
		}
		key := keys[len(keys)-1]
		publish(t, l, now, journal.Message{Topic: "t", Key: "b", Payload: []byte("b")}, journal.Message{Topic: "t", Key: key, Payload: []byte("other")})
		first.want(now, "b")
		second.want(now, map[bool]string{true: "b other", false: "other"}[len(keys) == 3])
		sub.Keys = []string{"b", "a", "b"}
		subscribe(t, l, now, sub)
		if n := l.Stats().Subscriptions; n != 2 {
			t.Errorf("%d groups with a member that has the same keys in another order, want 2", n)
		}
	}
}

// TestAKeyStaysWhileAMessageOfItIsOnItsWay checks that a key stays with a member while a message of the
// key is in flight to it. When that member closes, another one gets the messages of the key in order.
func TestAKeyStaysWhileAMessageOfItIsOnItsWay(t *testing.T) {
	for i := range 20 {
		now := start()
		l := newLog(t, journal.Options{})
		key := fmt.Sprint(i)
		one := func(payload string) {
			t.Helper()
			publish(t, l, now, journal.Message{Topic: "t", Key: key, Payload: []byte(payload)})
		}
		sub := journal.Subscription{Group: "g", Patterns: []string{"t"}}
		a := subscribe(t, l, now, sub)
		one("1")
		a.want(now, "1")
		b := subscribe(t, l, now, sub)
		one("2")
		b.want(now, "")
		// No credit was given back, so a has read nothing.
		a.Close(now)
		b.want(now, "1 2")
		b.AddCredit(2, now)
		c := subscribe(t, l, now, sub)
		// Nothing is in flight, so either member may get the key.
		one("3")
		if got := b.read(now) + c.read(now); got != "3" {
			t.Errorf("key %s: read %q, want 3", key, got)
		}
		b.Close(now)
		c.want(now, map[bool]string{true: "3"}[c.Stats(now).Lag.Messages > 0])
	}
}
