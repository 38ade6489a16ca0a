package doctest_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTheTableOfVariablesIsWhole compares the variables that the library reads with those
// in the README's table, and with all that code, logs and docs mention.
func TestTheTableOfVariablesIsWhole(t *testing.T) {
	variable := regexp.MustCompile(`LINK_[A-Z]+(?:_[A-Z]+)*`)
	quoted := regexp.MustCompile(`"LINK_[A-Z]+(?:_[A-Z]+)*"`)
	read := make(map[string]bool)
	for name, text := range files(t, ".go") {
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "integration/") || strings.HasPrefix(name, "bench/") || strings.HasPrefix(name, "internal/") {
			continue
		}
		for _, found := range quoted.FindAllString(text, -1) {
			read[strings.Trim(found, `"`)] = true
		}
	}
	// spoken maps each variable to a file that mentions it.
	spoken := make(map[string]string)
	for _, ext := range []string{".go", ".md"} {
		for name, text := range files(t, ext) {
			if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "integration/") || strings.HasPrefix(name, "bench/") || strings.HasPrefix(name, "internal/") {
				continue
			}
			for _, found := range variable.FindAllString(text, -1) {
				spoken[found] = name
			}
		}
	}
	for found, name := range spoken {
		if !read[found] {
			t.Errorf("%s speaks of %s, which nothing reads", name, found)
		}
	}
	written := make(map[string]bool)
	for line := range strings.Lines(files(t, "README.md")["README.md"]) {
		if cell, ok := strings.CutPrefix(line, "| `"); ok {
			cell, _, _ = strings.Cut(cell, "|")
			for _, found := range variable.FindAllString(cell, -1) {
				written[found] = true
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(read)), slices.Sorted(maps.Keys(written))); diff != "" {
		t.Errorf("read by the library (-), in the README (+):\n%s", diff)
	}
}
