// Package deptest checks that the module has the structure described in docs/design.md.
//
// Its tests list every package of the module with the go command. They check the
// direction of imports, that each package has one package comment, that files have
// no work markers, and that go.mod is tidy. depguard in .golangci.yml checks much
// of the same during editing; this package checks it wherever go test runs, and
// sees the whole import graph.
//
// No package of the product imports deptest.
package deptest

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path of the root module.
const Module = "github.com/linkmesh/link"

// A Package holds the fields of go list that the rules use. XTestImports are the imports
// of the _test.go files in package x_test, and Deps are the transitive imports.
type Package struct {
	ImportPath string

	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

// A Rule forbids imports. From, Except, Only and Never are patterns of Match.
type Rule struct {
	// Reason says why the import is wrong. It is the end of every complaint.
	Reason string

	// The rule applies to the packages in From that are not in Except.
	From   []string
	Except []string

	// Only, if set, lists everything that From may import; Never lists what it may not.
	Only  []string
	Never []string

	// Tests applies the rule to _test.go files too.
	Tests bool

	// Deep applies the rule to transitive imports too.
	Deep bool
}

// Check returns one complaint for each import that breaks a rule, sorted.
func Check(packages []Package, rules []Rule) []string {
	var complaints []string
	for _, p := range packages {
		for _, r := range rules {
			if matchAny(r.From, p.ImportPath) && !matchAny(r.Except, p.ImportPath) {
				complaints = append(complaints, r.complaints(p)...)
			}
		}
	}
	slices.Sort(complaints)
	return slices.Compact(complaints)
}

func (r Rule) complaints(p Package) []string {
	imports := slices.Clone(p.Imports)
	if r.Deep {
		imports = append(imports, p.Deps...)
	}
	if r.Tests {
		imports = append(append(imports, p.TestImports...), p.XTestImports...)
	}
	var found []string
	for _, dep := range imports {
		// Package x_test may import x.
		if dep == p.ImportPath {
			continue
		}
		if matchAny(r.Never, dep) || r.Only != nil && !matchAny(r.Only, dep) {
			found = append(found, fmt.Sprintf("%s imports %s: %s", p.ImportPath, dep, r.Reason))
		}
	}
	return found
}

func matchAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return Match(pattern, path) })
}

// Match reports whether an import path matches a pattern:
//
//	std       any package of the standard library
//	./x       package x of this module; "." is its root
//	./x/...   x and everything below
//	a.b/c     exactly this package
//	a.b/c/... c and everything below
func Match(pattern, path string) bool {
	if pattern == "std" {
		first, _, _ := strings.Cut(path, "/")
		return !strings.Contains(first, ".")
	}
	if rest, ok := strings.CutPrefix(pattern, "."); ok {
		pattern = Module + rest
	}
	if tree, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == tree || strings.HasPrefix(path, tree+"/")
	}
	return path == pattern
}
