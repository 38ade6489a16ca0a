package doctest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFilesOfTheWalksExist checks that each step of the walks in docs/design.md names a file, and that the files exist.
func TestFilesOfTheWalksExist(t *testing.T) {
	_, rest, found := strings.Cut(read(t, "docs/design.md"), "\n### Three walks\n")
	if !found {
		t.Fatal("docs/design.md has no walks")
	}
	section, _, _ := strings.Cut(rest, "\n## ")
	step, file := regexp.MustCompile(`^\d+\. `), regexp.MustCompile("`([a-z_/]+\\.go)`")
	steps := 0
	for line := range strings.Lines(section) {
		names := file.FindAllStringSubmatch(line, -1)
		if step.MatchString(line) {
			if steps++; len(names) == 0 {
				t.Errorf("a step names no file: %s", line)
			}
		}
		for _, name := range names {
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(name[1]))); err != nil {
				t.Errorf("%v, which a walk passes through", err)
			}
		}
	}
	if steps < 20 {
		t.Errorf("the walks have %d steps, which is too few for a call, a message and a task", steps)
	}
}
