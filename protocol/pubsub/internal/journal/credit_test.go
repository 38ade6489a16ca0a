package journal_test

import (
	"math"
	"testing"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestCreditWithoutEndDoesNotOverflow checks that a member that grants more credit than an int
// holds still gets its share of the group, and does not count as one without room.
func TestCreditWithoutEndDoesNotOverflow(t *testing.T) { // SEC-373
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.BestEffort, Group: "g"})
	s.fill(now, 1<<20, 10)
	for range 3 {
		s.AddCredit(math.MaxInt, now)
	}
	publish(t, l, now, say("a", "x", "y")...)
	if got := s.fill(now, 1<<20, 10); got != "x y" {
		t.Errorf("delivered %q", got)
	}
}
