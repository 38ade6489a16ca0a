package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestARowOfTasksComparesEverySystem(t *testing.T) {
	for _, tt := range []struct {
		row    string
		others []string
	}{{"pipeline/64B/memory", []string{"jetstream", "mangos"}}, {"pipeline/64B/durable", []string{"jetstream"}}} {
		var out, progress bytes.Buffer
		if err := run(t.Context(), []string{"-row", tt.row, "-runs", "1", "-warm", "50ms", "-window", "200ms"}, &out, &progress); err != nil {
			t.Fatalf("run: %v\n%s", err, progress.String())
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != len(tt.others) {
			t.Fatalf("lines %q, want one for each of %v", lines, tt.others)
		}
		for i, line := range lines {
			if !regexp.MustCompile(`^` + tt.row + `\t` + tt.others[i] + `\t\d+\.\d\d\t\d+\.\d\d$`).MatchString(line) {
				t.Errorf("line %q is not of %s", line, tt.others[i])
			}
		}
	}
}
