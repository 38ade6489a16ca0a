package consul

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestTheCommentTellsTheNumbers checks that the comment of the package, where users look, has the timing and the limits
// of registrations and watches.
func TestTheCommentTellsTheNumbers(t *testing.T) {
	text, err := os.ReadFile("consul.go")
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(text), "\npackage consul\n")
	comment = strings.ReplaceAll(comment, "\n// ", " ")
	minutes := func(d time.Duration) string { return fmt.Sprintf("%.0f min", d.Minutes()) }
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.0f s", d.Seconds()) }
	if verifyEvery != time.Minute {
		t.Errorf("entries are compared every %v, not once a minute", verifyEvery)
	}
	for _, want := range []string{
		"lasted for " + seconds(doubtTime) + ".", "gone " + seconds(checkTTL) + " after its last heartbeat",
		fmt.Sprintf("At most %d watches", maxBlocking), "others poll every " + seconds(pollEvery) + " over",
		"heartbeat every " + seconds(heartbeatEvery) + ",", "out after " + seconds(checkTTL) + " without",
		"removes it after " + minutes(deregisterAfter) + " more", "waits for the agent for " + seconds(closeTime) + " at most",
		fmt.Sprintf("at most %d,%03d open registrations", maxRegistrations/1000, maxRegistrations%1000),
		fmt.Sprintf("%d,%03d watches of policies and %d datacenters", maxPolicies/1000, maxPolicies%1000, maxDatacenters),
		fmt.Sprintf("tag is at most %d MiB", maxAnswer>>20), fmt.Sprintf("directory at most %d MiB", maxStateFile>>20),
	} {
		if !strings.Contains(comment, want) {
			t.Errorf("the comment does not say %q", want)
		}
	}
}
