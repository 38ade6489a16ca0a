package clock_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestASetClockMovesNothing runs nodes in a separate process, whose clock is set an hour
// forward and back while they talk.
func TestASetClockMovesNothing(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "set")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-checklinkname=0", "-o", program, "./testdata/set")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	run := exec.CommandContext(t.Context(), program)
	run.Env = append(os.Environ(), "LINK_CLUSTER_SECRET="+strings.Repeat("s3cret-", 8))
	if out, err := run.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
