package journal_test

import (
	"testing"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestGroupsWithOtherKeysAreOthers whatever bytes are in the keys.
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
