package doctest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestLinksInPagesLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^):#\s]+)(#[^)]*)?\)`)
	found := 0
	for name, page := range files(t, ".md") {
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			if strings.HasPrefix(m[1], "NNNN-") { // a link of the template for ADRs
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
