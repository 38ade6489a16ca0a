package deptest_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// walk calls visit for every file of the repository, including nested modules,
// with its path from the root. Reading all files here also tells go test what the
// results of this package depend on, so that its cache notices every change.
func walk(t *testing.T, visit func(path string, content []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == ".tmp") {
			return fs.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		visit(filepath.ToSlash(name), content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoFileHoldsAWorkMarker(t *testing.T) {
	// The markers are in two parts, so that this file does not contain them.
	marker := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)
	files := 0
	walk(t, func(path string, content []byte) {
		files++
		// Skip binary files.
		if bytes.IndexByte(content, 0) >= 0 {
			return
		}
		for i, line := range strings.Split(string(content), "\n") {
			if marker.MatchString(line) {
				t.Errorf("%s:%d: %s", path, i+1, strings.TrimSpace(line))
			}
		}
	})
	if files == 0 {
		t.Error("the walk saw no file")
	}
}

func TestEveryPackageHasOnePackageComment(t *testing.T) {
	// docs holds the files with a package comment, by folder.
	docs := make(map[string][]string)
	walk(t, func(path string, content []byte) {
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains("/"+path, "/testdata/") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, content, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Error(err)
			return
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		docs[dir] = append(docs[dir], documented(t, path, file)...)
	})
	for dir, files := range docs {
		switch len(files) {
		case 0:
			t.Errorf("%s: no file has a package comment", dir)
		case 1:
		default:
			t.Errorf("%s: more than one package comment: %s", dir, strings.Join(files, ", "))
		}
	}
}

// documented returns the path if the file has a package comment, and checks how the comment begins.
func documented(t *testing.T, path string, file *ast.File) []string {
	t.Helper()
	if file.Doc == nil {
		return nil
	}
	text := file.Doc.Text()
	if file.Name.Name != "main" && !strings.HasPrefix(text, "Package "+file.Name.Name+" ") {
		t.Errorf("%s: the package comment does not begin with %q", path, "Package "+file.Name.Name)
	}
	return []string{path}
}

// TestTestFilesOfLinkBearTheNamesOfWhatTheyTest checks that a reader who looks for the tests of a file of the root package,
// or of a room, finds them by name.
func TestTestFilesOfLinkBearTheNamesOfWhatTheyTest(t *testing.T) {
	known := map[string]bool{"mesh": true, "tracing": true, "main": true, "readme": true, "example": true}
	var tests []string
	walk(t, func(path string, _ []byte) {
		switch room, inside := strings.CutPrefix(path, "internal/"); {
		case inside:
			room, _, _ = strings.Cut(room, "/")
			known[room] = true
		case strings.Contains(path, "/"):
		case strings.HasSuffix(path, "_test.go"):
			tests = append(tests, path)
		case strings.HasSuffix(path, ".go"):
			known[strings.TrimSuffix(path, ".go")] = true
		}
	})
	if len(tests) == 0 {
		t.Error("the walk saw no test")
	}
	for _, path := range tests {
		subject, _, _ := strings.Cut(strings.TrimSuffix(path, "_test.go"), "_")
		if !known[subject] {
			t.Errorf("%s is named after neither a file of the package nor a room under internal", path)
		}
	}
}
