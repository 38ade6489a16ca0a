package serve

import (
	"slices"
	"testing"
)

// TestARuleMayPublish checks that a rule may declare topics, such as one that publishes what it refuses, because no lock is
// held while it is asked, and that it is asked once for each topic, however many patterns a subscriber has.
func TestARuleMayPublish(t *testing.T) {
	var all topics
	all.add("placed")
	asked := 0
	near := all.near([]string{"plased", "placet"}, func(string) bool {
		asked++
		if !all.mu.TryLock() {
			t.Error("the rule is asked with the lock held")
			return true
		}
		all.mu.Unlock()
		all.add("refused")
		return true
	})
	if asked != 1 || !slices.Contains(near, "placed") {
		t.Errorf("the rule was asked %d times, and %q are near, want once and placed", asked, near)
	}
}
