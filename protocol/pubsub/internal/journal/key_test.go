package journal_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestTheLongestKeyIsAKeyLikeOthers publishes messages with keys of the greatest length, and
// expects that subscriptions find them by their whole keys.
func TestTheLongestKeyIsAKeyLikeOthers(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	long := strings.Repeat("k", journal.MaxKey-1)
	s := subscribe(t, l, now, journal.Subscription{Keys: []string{long + "a"}})
	last := subscribe(t, l, now, journal.Subscription{Class: journal.Latest})
	for _, m := range []struct{ end, payload string }{{"a", "1"}, {"b", "2"}, {"a", "3"}} {
		publish(t, l, now, journal.Message{Topic: "t", Key: long + m.end, Payload: []byte(m.payload)})
	}
	s.want(now, "1 3")
	last.want(now, "(conflated 1-1 x1) 3 2")
	_, err := l.Append(journal.Message{Topic: "t", Key: long + "ab"}, now)
	if limit, ok := errors.AsType[*journal.LimitError](err); !ok || limit.Max != journal.MaxKey {
		t.Errorf("a key of %d bytes: %v", len(long)+2, err)
	}
}

// TestTheKeysOfASubscriptionHaveAMostOfBytes checks that keys which do not fit into the frame
// of a subscription are refused before it is sent.
func TestTheKeysOfASubscriptionHaveAMostOfBytes(t *testing.T) {
	sub := journal.Subscription{Patterns: []string{">"}}
	for range journal.MaxKeysBytes / 128 {
		sub.Keys = append(sub.Keys, strings.Repeat("k", 128))
	}
	if err := sub.Validate(); err != nil {
		t.Error(err)
	}
	sub.Keys[0] += "k"
	if limit, ok := errors.AsType[*journal.LimitError](sub.Validate()); !ok || limit.Max != journal.MaxKeysBytes {
		t.Errorf("got %v", sub.Validate())
	}
}
