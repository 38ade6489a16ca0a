package doctest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/linkmesh/link/internal/doctest"
)

// root is the folder of the module, seen from this package's tests.
const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files returns the files of the repository whose names end in ext, by their
// path from the root.
func files(t *testing.T, ext string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == ".tmp" || entry.Name() == "testdata") {
			return fs.SkipDir
		}
		if entry.Type().IsRegular() && strings.HasSuffix(path, ext) {
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			found[filepath.ToSlash(name)] = read(t, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// blocks returns the blocks of all pages in one language.
func blocks(t *testing.T, lang string) []doctest.Block {
	t.Helper()
	var out []doctest.Block
	for name, page := range files(t, ".md") {
		all, err := doctest.Blocks(name, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range all {
			if b.Lang == lang {
				out = append(out, b)
			}
		}
	}
	return out
}

func TestBlocksAreFoundWithLanguageAndLine(t *testing.T) {
	page := "text\n```go\npackage main\n```\n\n* item\n\n  ```\n  make test\n    deeper\n  ```\n"
	got, err := doctest.Blocks("a.md", page)
	if err != nil {
		t.Fatal(err)
	}
	want := []doctest.Block{
		{File: "a.md", Line: 2, Lang: "go", Text: "package main\n"},
		{File: "a.md", Line: 8, Text: "make test\n  deeper\n"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := doctest.Blocks("a.md", "```sh\nmake\n"); err == nil || !strings.Contains(err.Error(), "a.md:1") {
		t.Errorf("a block without end: %v, want an error that names a.md:1", err)
	}
}
