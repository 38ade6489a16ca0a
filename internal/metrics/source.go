package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// file is one source file of the library.
type file struct {
	// name is the path relative to the root of the module.
	name string

	// pkg is the folder of the package, "." for the root.
	pkg    string
	lines  []string
	set    *token.FileSet
	syntax *ast.File
}

// read returns the files of the library: all packages of the module except commands,
// examples and packages that only tests import.
func read(root string) ([]*file, error) {
	var files []*file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error { //nolint:gosec // the folder is the user's own
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() {
			if skipped(path, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		f, err := parse(path, name)
		if err != nil {
			return err
		}
		if f.syntax.Name.Name != "main" {
			files = append(files, f)
		}
		return nil
	})
	return files, err
}

// forTests returns the packages that only tests import.
func forTests() []string {
	return []string{"internal/child", "internal/deptest", "internal/doctest", "internal/mtls/mtlstest", "internal/policy/policytest", "internal/race", "internal/securitytest", "internal/shell", "internal/smalldisk", "internal/codecvalues", "protocol/internal/logtest"}
}

func skipped(path, name string) bool {
	if name == "." {
		return false
	}
	// A folder with a go.mod is another module.
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	return err == nil || strings.HasPrefix(filepath.Base(name), ".") || filepath.Base(name) == "testdata" ||
		name == "examples" || slices.Contains(forTests(), name)
}

func parse(path, name string) (*file, error) {
	src, err := os.ReadFile(path) //nolint:gosec // it is a source file that was just listed
	if err != nil {
		return nil, err
	}
	f := &file{name: name, pkg: filepath.ToSlash(filepath.Dir(name)), set: token.NewFileSet()}
	f.lines = strings.Split(strings.TrimSuffix(string(src), "\n"), "\n")
	f.syntax, err = parser.ParseFile(f.set, path, src, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	return f, nil
}

// public reports whether users can import the package of f.
func (f *file) public() bool {
	return !slices.Contains(strings.Split(f.pkg, "/"), "internal")
}

// line returns the line number of pos, from 1.
func (f *file) line(pos token.Pos) int { return f.set.Position(pos).Line }
