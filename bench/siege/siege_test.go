package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test binary act as the child processes that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == childWord {
		if err := run(context.Background(), os.Args[1:], os.Stdout, os.Stderr); err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestEachAttackRuns checks that every attack begins and that honest calls are
// counted during it. It does not judge how the callers fare; running the command
// does.
func TestEachAttackRuns(t *testing.T) {
	for _, name := range names() {
		var out, log bytes.Buffer
		err := run(t.Context(), []string{"-attack", name, "-idle", "100ms", "-for", "300ms"}, &out, &log)
		if err != nil && !strings.Contains(err.Error(), "honest callers suffered") {
			t.Fatalf("%s: %v\n%s", name, err, log.String())
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 2 || lines[0] != header || !strings.HasPrefix(lines[1], name+"\t") {
			t.Fatalf("%s printed %q", name, lines)
		}
		if fields := strings.Split(lines[1], "\t"); fields[4] == "0" {
			t.Errorf("%s: no honest call was made", name)
		}
	}
}

func TestAnUnknownAttackIsNamed(t *testing.T) {
	err := run(t.Context(), []string{"-attack", "nonsense"}, new(bytes.Buffer), new(bytes.Buffer))
	if err == nil || !strings.Contains(err.Error(), "nonsense") || !strings.Contains(err.Error(), "strangers") {
		t.Errorf("got %v, want an error that names it and lists the attacks", err)
	}
}
