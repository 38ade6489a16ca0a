// Package exampletest builds and runs the programs in examples, for their tests.
package exampletest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/shell"
)

// Command builds the program in the working directory and returns the command that runs it. It runs in an
// environment of its own: without the variables that configure nodes, and with a registry and a secret in the
// folder of the program.
func Command(t *testing.T) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil { //nolint:gosec // the folder is the test's own
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), program) //nolint:gosec // it was built above
	cmd.Env = append(shell.Without(os.Environ()),
		"TMPDIR="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "XDG_RUNTIME_DIR="+filepath.Join(dir, "run"))
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// Prints runs the program in the working directory, which must succeed and print what the patterns say, one line or
// more for each, and nothing else. It returns the submatches of all patterns.
func Prints(t *testing.T, patterns ...string) []string {
	t.Helper()
	cmd := Command(t)
	var warnings bytes.Buffer
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, warnings.String())
	}
	whole := "^(?:" + strings.Join(patterns, "\n)(?:") + "\n)$"
	found := regexp.MustCompile(whole).FindStringSubmatch(string(out))
	if found == nil {
		t.Fatalf("it printed\n%s, want\n%s", out, strings.Join(patterns, "\n"))
	}
	return found[1:]
}
