// Package deptest keeps the module in the shape that docs/design.md gives it.
//
// Its tests ask the go command for every package of the module and hold the
// direction of imports, one package comment per package, no work markers left
// in files, and a tidy go.mod. depguard in .golangci.yml says much of the same
// while one edits; this package says it wherever go test runs, and knows the
// whole graph.
//
// Nothing of the product imports deptest.
package deptest

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path of the root module.
const Module = "github.com/linkmesh/link"

// A Package is what the rules look at: one line of go list.
type Package struct {
	ImportPath string

	Imports      []string // what the package itself imports
	TestImports  []string // what its _test.go files import
	XTestImports []string // what its _test.go files in package x_test import
	Deps         []string // what the package itself depends on, all the way down
}

// A Rule forbids imports. Patterns are those of Match.
type Rule struct {
	Reason string   // ends every complaint: why this import is wrong
	From   []string // packages the rule binds
	Except []string // packages among From it does not bind

	// Only, when set, is everything From may import; Never is what it may not.
	Only  []string
	Never []string

	Tests bool // _test.go files are bound too
	Deep  bool // imports of imports are bound too
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
		if dep == p.ImportPath { // package x_test imports x
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
//	a.b/c     that very package
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
