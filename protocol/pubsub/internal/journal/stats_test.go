package journal_test

import (
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestTheLagOfAMemberIsLookedAtInSteps checks that Stats goes through the messages that a member was given in
// steps, so that publishers can go on in between.
func TestTheLagOfAMemberIsLookedAtInSteps(t *testing.T) { // SEC-403
	const messages, step = 1000, 256
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Patterns: []string{"t"}, Group: "g", Credit: messages, Limits: journal.Limits{Messages: messages}})
	// The member has no credit for the last message, which stays with the group.
	for i := range messages + 1 {
		publish(t, l, now.Add(time.Duration(i)*time.Millisecond), say("t", "x")...)
	}
	later := now.Add(time.Minute)
	all := s.Stats(later).Lag
	each := all.Bytes / (messages + 1)
	if all.Messages != messages+1 || each < 1 || all.Age != time.Minute || !all.Exact {
		t.Errorf("the lag is %+v", all)
	}
	if one := s.LookOnce(); one < step*each/2 || one > step*each*2 {
		t.Errorf("one step looks at %d bytes, want about those of %d messages of %d", one, step, each)
	}
}
