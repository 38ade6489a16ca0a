package doctest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestLinksInPagesLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^):#\s]+)(#[^)]*)?\)`)
	found := 0
	for name, page := range files(t, ".md") {
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			// Skip links of the template for ADRs.
			if strings.HasPrefix(m[1], "NNNN-") {
				continue
			}
			found++
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if found == 0 {
		t.Error("no page has a link to another")
	}
}

func TestFieldsInTheReadmeAreOfConfig(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", read(t, "config.go"), 0)
	if err != nil {
		t.Fatal(err)
	}
	fields := make(map[string]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != "Config" {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					fields[name.Name] = true
				}
			}
		}
		return false
	})
	mentioned := regexp.MustCompile("`Config\\.(\\w+)`").FindAllStringSubmatch(read(t, "README.md"), -1)
	if len(mentioned) == 0 {
		t.Error("README.md names no field of Config")
	}
	for _, m := range mentioned {
		if !fields[m[1]] {
			t.Errorf("README.md names Config.%s, which does not exist", m[1])
		}
	}
}

// TestTestsNamedInPagesExist checks that each test that a page names for a promise exists.
// "TestDrain…" stands for all tests whose names begin with TestDrain.
func TestTestsNamedInPagesExist(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	var all []string
	for _, code := range files(t, "_test.go") {
		for _, m := range declared.FindAllStringSubmatch(code, -1) {
			all = append(all, m[1])
		}
	}
	slices.Sort(all)
	found := 0
	for page, text := range files(t, ".md") {
		for _, m := range regexp.MustCompile(`\b((?:Test|Fuzz|Benchmark|Example)[A-Z]\w*)(…?)`).FindAllStringSubmatch(text, -1) {
			found++
			i, exact := slices.BinarySearch(all, m[1])
			if begins := i < len(all) && strings.HasPrefix(all[i], m[1]); !exact && (m[2] == "" || !begins) {
				t.Errorf("%s names %s, and there is no such test", page, m[1])
			}
		}
	}
	if found == 0 {
		t.Error("no page names a test")
	}
}

// TestEveryBoundThatIsSharedHasARow checks that each shared bound has a row in the table of docs/design.md
// that says whose share is what, and that a test attacks it with sharetest.Drive.
func TestEveryBoundThatIsSharedHasARow(t *testing.T) {
	bounds, driven := make(map[string]int), make(map[string]bool)
	for name, code := range files(t, ".go") {
		dir := path.Dir(name)
		if !strings.HasSuffix(name, "_test.go") {
			bounds[dir] += len(regexp.MustCompile(`\bNewPool\((?:share|pool)\.Config\{`).FindAllString(code, -1))
		} else if strings.Contains(code, "sharetest.Drive(") {
			driven[dir] = true
		}
	}
	_, table, _ := strings.Cut(read(t, "docs/design.md"), "| bound | counts | whose share |")
	table, _, _ = strings.Cut(table, "\n\n")
	// The first two elements are the rest of the head and the line below it.
	for _, row := range strings.Split(table, "\n")[2:] {
		where := regexp.MustCompile("`([a-z/]+)` \\|$").FindStringSubmatch(row)
		if where == nil || !driven[where[1]] {
			t.Errorf("no package drives this row with the attacker of all: %s", row)
			continue
		}
		bounds[where[1]]--
	}
	for dir, n := range bounds {
		if n != 0 {
			t.Errorf("%s has %d shared bounds more than rows in docs/design.md", dir, n)
		}
	}
}
