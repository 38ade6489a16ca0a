//go:build unix

package private_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/linkmesh/link/internal/private"
)

func newFolder(t *testing.T) *private.Folder {
	t.Helper()
	f, made, err := private.Make(filepath.Join(t.TempDir(), "folder"))
	if err != nil || !made {
		t.Fatalf("made %t, %v", made, err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// victim creates a file with the content "precious" outside of the folder, and returns its path.
func victim(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(path, []byte("precious"), private.FileMode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatIsMadeIsForTheUserOnly(t *testing.T) {
	f := newFolder(t)
	if err := f.Write("a", "new-", []byte("text")); err != nil {
		t.Fatal(err)
	}
	if data, err := f.Read("a", 4); err != nil || string(data) != "text" {
		t.Errorf("read %q, %v", data, err)
	}
	if _, err := f.Read("a", 3); err == nil || !strings.Contains(err.Error(), "larger than 3 bytes") {
		t.Errorf("a file beyond the limit: %v", err)
	}
	if names, err := f.Names(0); err != nil || !slices.Equal(names, []string{"a"}) {
		t.Errorf("names %q, %v", names, err)
	}
	if again, made, err := private.Make(f.Path("")); err != nil || made {
		t.Errorf("made again %t, %v", made, err)
	} else if err := errors.Join(again.Sync(), again.Close()); err != nil {
		t.Error(err)
	}
}

// TestLinksAreNotFollowed checks that no call writes through a link that leads out of the folder, to a
// file in it, or to nothing.
func TestLinksAreNotFollowed(t *testing.T) {
	for name, target := range map[string]func(t *testing.T, f *private.Folder) string{
		"out":     func(t *testing.T, _ *private.Folder) string { t.Helper(); return victim(t) },
		"nowhere": func(t *testing.T, _ *private.Folder) string { t.Helper(); return filepath.Join(t.TempDir(), "none") },
		"within": func(t *testing.T, f *private.Folder) string {
			t.Helper()
			if err := f.Write("sibling", "new-", []byte("precious")); err != nil {
				t.Fatal(err)
			}
			return "sibling"
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			to := target(t, f)
			if err := os.Symlink(to, f.Path("link")); err != nil {
				t.Fatal(err)
			}
			if _, err := f.Open("link", os.O_RDWR); !errors.Is(err, private.ErrUnsafe) {
				t.Errorf("Open: %v", err)
			}
			if _, err := f.OpenOrCreate("link"); !errors.Is(err, private.ErrUnsafe) {
				t.Errorf("OpenOrCreate: %v", err)
			}
			if _, err := f.Create("link"); !errors.Is(err, fs.ErrExist) {
				t.Errorf("Create: %v", err)
			}
			file, err := f.Replace("link")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteString("ours"); err != nil {
				t.Error(err)
			}
			if err := file.Close(); err != nil {
				t.Error(err)
			}
			if !filepath.IsAbs(to) {
				to = f.Path(to)
			}
			if data, err := os.ReadFile(to); (err != nil) != (name == "nowhere") || err == nil && string(data) != "precious" {
				t.Errorf("where the link led: %q, %v", data, err)
			}
			if data, err := f.Read("link", 10); err != nil || string(data) != "ours" {
				t.Errorf("in its place: %q, %v", data, err)
			}
		})
	}
}

// TestNamesOutsideAreRefused checks that no name leads to a file outside of the folder.
func TestNamesOutsideAreRefused(t *testing.T) {
	f := newFolder(t)
	for _, name := range []string{"../x", "/etc/passwd", ""} {
		if _, err := f.Open(name, os.O_RDONLY); err == nil {
			t.Errorf("Open(%q) succeeds", name)
		}
		if _, err := f.Create(name); err == nil {
			t.Errorf("Create(%q) succeeds", name)
		}
	}
}

// TestTheErrorSaysWhatMendsIt checks that the error says what to do: a mode that is too open can be
// changed, everything else needs another path.
func TestTheErrorSaysWhatMendsIt(t *testing.T) {
	dir := t.TempDir()
	loose, file, link := filepath.Join(dir, "loose"), filepath.Join(dir, "file"), filepath.Join(dir, "link")
	err := errors.Join(
		os.Mkdir(loose, 0o700), os.Chmod(loose, 0o755),
		os.WriteFile(file, nil, 0o600),
		os.Symlink(loose, link),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, says string
		foreign    bool
	}{
		{loose, "run: chmod 0700 " + loose, false},
		{file, "is not a folder", true},
		{link, "name the real folder", true},
	} {
		_, err := private.Open(c.path)
		unsafe, ok := errors.AsType[*private.Error](err)
		if !ok || !errors.Is(err, private.ErrUnsafe) || unsafe.Foreign != c.foreign || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q, foreign %t", c.path, err, c.says, c.foreign)
		}
	}
	if _, err := private.Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// TestAFileIsMadeOnce has several makers create a file at the same time, and checks that the file can
// be read if its maker was killed before it removed the temporary name.
func TestAFileIsMadeOnce(t *testing.T) {
	f := newFolder(t)
	const makers = 16
	for round := range 20 {
		name := fmt.Sprintf("secret-%d", round)
		read := make([]string, makers)
		var wg sync.WaitGroup
		for i := range makers {
			wg.Go(func() {
				folder, err := private.Open(f.Path(""))
				if err != nil {
					t.Error(err)
					return
				}
				defer folder.Close()
				data, err := folder.ReadOrMake(name, 3, func() []byte { return fmt.Appendf(nil, "%d", i) })
				if err != nil {
					t.Error(err)
				}
				read[i] = string(data)
			})
		}
		wg.Wait()
		for i, text := range read {
			if text == "" || text != read[0] {
				t.Fatalf("maker %d reads %q, maker 0 %q", i, text, read[0])
			}
		}
		if err := os.Link(f.Path(name), f.Path(name+".KILLED")); err != nil {
			t.Fatal(err)
		}
		if data, err := f.ReadOrMake(name, 3, nil); err != nil || string(data) != read[0] {
			t.Errorf("after a crash: %q, %v", data, err)
		}
	}
	if names, err := f.Names(0); err != nil || len(names) != 20 {
		t.Errorf("what is left: %q, %v", names, err)
	}
}

// TestAFileWithANameElsewhereIsNotSettled checks that a file with a second name outside of the folder
// is refused, because others may read and change it.
func TestAFileWithANameElsewhereIsNotSettled(t *testing.T) {
	f := newFolder(t)
	elsewhere := victim(t)
	if err := os.Link(elsewhere, f.Path("secret")); err != nil {
		t.Fatal(err)
	}
	if err := f.Write("secret.other", "new-", []byte("precious")); err != nil {
		t.Fatal(err)
	}
	if data, err := f.ReadOrMake("secret", 100, nil); !errors.Is(err, private.ErrUnsafe) || data != nil {
		t.Errorf("read %q, %v", data, err)
	}
	if names, err := f.Names(0); err != nil || len(names) != 2 {
		t.Errorf("what is left: %q, %v", names, err)
	}
}

func TestWordsOfAShell(t *testing.T) {
	for path, want := range map[string]string{
		"/tmp/a-b_c.d": "/tmp/a-b_c.d", "": "''", "-rf": "'-rf'", "/a b": "'/a b'", "/a'b": `'/a'\''b'`, "/a;b": "'/a;b'", "/ä": "'/ä'",
	} {
		if got := private.Word(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}
