//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAFileNobodyShouldTrustIsSkippedAndSaidOnce(t *testing.T) {
	good := encoded(t, instance("orders-bad"))
	write := func(data []byte, mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			t.Helper()
			writeFile(t, path, data, mode)
			hold(t, path)
		}
	}
	unstable := instance("orders-bad")
	unstable.Tags = []string{"v2"}
	badTag := bytes.Replace(encoded(t, unstable), []byte("v2"), []byte(" 2"), 1)

	for name, c := range map[string]struct {
		plant func(t *testing.T, path string)
		says  string
	}{
		"corrupt":                     {write([]byte("not cbor"), 0o600), "corrupt"},
		"empty":                       {write(nil, 0o600), "corrupt"},
		"half-written":                {write(good[:len(good)/2], 0o600), "corrupt"},
		"trailing bytes":              {write(append(bytes.Clone(good), 0), 0o600), "corrupt"},
		"oversized":                   {write(make([]byte, maxFile+1), 0o600), "65537 bytes"},
		"readable by others":          {write(good, 0o644), "mode 0644"},
		"executable":                  {write(good, 0o700), "mode 0700"},
		"set-uid":                     {write(good, 0o600|os.ModeSetuid), "mode 04600"},
		"of an unknown format":        {write(bytes.Replace(good, []byte{1, 1}, []byte{1, 2}, 1), 0o600), "unknown format 2"},
		"of another instance":         {write(encoded(t, instance("orders-else")), 0o600), "does not match"},
		"with an invalid tag":         {write(badTag, 0o600), "Tags[0]"},
		"with a broken address":       {write(bytes.Replace(good, []byte("7443"), []byte("0000"), 1), 0o600), "Addr"},
		"of indefinite length":        {write([]byte{0xbf, 0xff}, 0o600), "corrupt"},
		"with a duplicate key":        {write([]byte{0xa2, 1, 1, 1, 1}, 0o600), "corrupt"},
		"a CBOR tag":                  {write(append([]byte{0xd9, 0xd9, 0xf7}, good...), 0o600), "corrupt"},
		"a bomb of nested arrays":     {write(bytes.Repeat([]byte{0x81}, 60_000), 0o600), "corrupt"},
		"a claim of a huge map":       {write([]byte{0xbb, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, 0o600), "corrupt"},
		"a directory":                 {func(t *testing.T, path string) { t.Helper(); mkdir(t, path, 0o700) }, "not a regular file"},
		"a pipe":                      {pipe, "not a regular file"},
		"a socket-like dangling link": {dangling, "symbolic link"},
		"a link to a good file": {func(t *testing.T, path string) {
			t.Helper()
			target := filepath.Join(t.TempDir(), "orders-bad.cbor")
			write(good, 0o600)(t, target)
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			r, log := newRegistry(t, dir)
			ch := watch(t, r)
			untilIDs(t, ch)
			path := filepath.Join(dir, "orders-bad.cbor")
			// The file is renamed into place, so that the reader sees only one version.
			aside := filepath.Join(dir, "aside")
			c.plant(t, aside)
			if err := os.Rename(aside, path); err != nil {
				t.Fatal(err)
			}
			// Each change of the directory makes the reader look at every file again.
			for range 3 {
				g := register(t, r, instance("orders-good"))
				untilIDs(t, ch, "orders-good")
				if err := g.Close(); err != nil {
					t.Fatal(err)
				}
				untilIDs(t, ch)
			}
			if n := log.lines(path); n != 1 || log.lines(c.says) != 1 {
				t.Errorf("%d lines about the file, want 1 with %q:\n%s", n, c.says, log)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("a file that is not understood was removed: %v", err)
			}

			// The same ID can be announced only after the file has been removed.
			if _, err := r.Register(t.Context(), instance("orders-bad")); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("Register over it: %v", err)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			register(t, r, instance("orders-bad"))
			untilIDs(t, ch, "orders-bad")
		})
	}
}

func pipe(t *testing.T, path string) {
	t.Helper()
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func dangling(t *testing.T, path string) {
	t.Helper()
	if err := os.Symlink(filepath.Join(t.TempDir(), "nothing"), path); err != nil {
		t.Fatal(err)
	}
}

func TestANewVersionOfASkippedFileIsReadAgain(t *testing.T) {
	dir := newDir(t)
	r, log := newRegistry(t, dir)
	ch := watch(t, r)
	untilIDs(t, ch)
	path := filepath.Join(dir, "orders-slow.cbor")
	data := encoded(t, instance("orders-slow"))
	writeFile(t, path, data[:10], 0o600)
	hold(t, path)
	eventually(t, "first line", func() bool { return log.lines(path) == 1 })
	// grow writes the file in place, as its holder would.
	grow := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	grow(data[:20])
	eventually(t, "second line", func() bool { return log.lines(path) >= 2 })
	grow(data)
	untilIDs(t, ch, "orders-slow")
}
