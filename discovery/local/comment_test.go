package local

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestTheCommentTellsTheNumbers checks that the comments of the package and of Config.Poll, where users look, have the
// limits.
func TestTheCommentTellsTheNumbers(t *testing.T) {
	text, err := os.ReadFile("local.go")
	if err != nil {
		t.Fatal(err)
	}
	comment := strings.ReplaceAll(strings.ReplaceAll(string(text), "\n// ", " "), "\n\t// ", " ")
	for _, want := range []string{
		fmt.Sprintf("at most %d open registrations", maxRegistrations), fmt.Sprintf("at most %d KiB", maxFile>>10),
		fmt.Sprintf("examines %d,%03d entries", maxFiles/1000, maxFiles%1000),
		fmt.Sprintf("from %d ms to %.0f min. 0 is %d ms.", minPoll.Milliseconds(), maxPoll.Minutes(), defaultPoll.Milliseconds()),
	} {
		if !strings.Contains(comment, want) {
			t.Errorf("the comment does not say %q", want)
		}
	}
}
