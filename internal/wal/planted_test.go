//go:build unix

package wal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestAPlantedFileIsNotWrittenTo (SEC-615) checks that a file that an attacker has planted under a
// name of the log does not redirect its writes. The victim is a file of the user that runs the log;
// for root, that could be any file.
func TestAPlantedFileIsNotWrittenTo(t *testing.T) {
	link := func(t *testing.T, victim, path string) {
		t.Helper()
		if err := os.Symlink(victim, path); err != nil {
			t.Fatal(err)
		}
	}
	second := func(t *testing.T, victim, path string) {
		t.Helper()
		if err := os.Link(victim, path); err != nil {
			t.Fatal(err)
		}
	}
	give := func(t *testing.T, _, path string) {
		t.Helper()
		if err := os.WriteFile(path, nil, filePerm); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(path, 4242, -1); err != nil {
				t.Fatal(err)
			}
			return
		}
		// Only root can give a file away. Other users link to a file of another user.
		link(t, "/etc/passwd", path+"-")
		if err := os.Rename(path+"-", path); err != nil {
			t.Fatal(err)
		}
	}
	loose := func(t *testing.T, _, path string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(path, nil, filePerm), os.Chmod(path, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	pipe := func(t *testing.T, _, path string) {
		t.Helper()
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name  string
		plant func(t *testing.T, victim, path string)
		file  string
		// opens is set if the log opens, because it puts its own file there.
		opens bool
		// reason is a part of the error.
		reason string
	}{
		{"a link for the segment to come", link, nextName, true, ""},
		{"a second name for the segment to come", second, nextName, true, ""},
		{"a link for the lock", link, lockName, false, "symbolic link"},
		{"a dangling link for the lock", func(t *testing.T, victim, path string) { t.Helper(); link(t, victim+"-new", path) }, lockName, false, "symbolic link"},
		{"a second name for the lock", second, lockName, false, "second name"},
		{"a pipe for the lock", pipe, lockName, false, "not a regular file"},
		{"a link for a segment", link, segmentName(0), false, "symbolic link"},
		{"a second name for a segment", second, segmentName(0), false, "second name"},
		{"a pipe for a segment", pipe, segmentName(0), false, "not a regular file"},
		{"a segment of another user", give, segmentName(0), false, ""},
		{"a segment that all may write", loose, segmentName(0), false, "mode 0666"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, victim := newDir(t), filepath.Join(t.TempDir(), "victim")
			if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(victim, []byte("precious"), filePerm)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, c.file)
			c.plant(t, victim, path)
			l, err := Open(dir, Options{}, nil)
			if err == nil {
				add(t, l, Record{ID: 1, Body: body(100, 'x')})
				closeLog(t, l)
			}
			switch {
			case c.opens && err != nil:
				t.Error(err)
			case !c.opens && (!errors.Is(err, ErrUnsafeDir) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.reason)):
				t.Errorf("open: %v\nwant ErrUnsafeDir with %s and %q", err, path, c.reason)
			}
			if got, err := os.ReadFile(victim); err != nil || string(got) != "precious" {
				t.Errorf("the victim holds %q, %v", got, err)
			}
			if _, err := os.Lstat(victim + "-new"); err == nil {
				t.Error("a file was made where the link leads")
			}
		})
	}
}

// TestAFolderOfOthersIsRefused (SEC-615) checks that a log refuses a folder that other users can
// access, and a symbolic link to a folder.
func TestAFolderOfOthersIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		make         func(t *testing.T, dir string) string
	}{
		{"a link", "symbolic link", func(t *testing.T, dir string) string {
			t.Helper()
			mkdir(t, dir+"-real", 0o700)
			if err := os.Symlink(dir+"-real", dir); err != nil {
				t.Fatal(err)
			}
			return dir
		}},
		{"open to the group", "mode 0750, want 0700", func(t *testing.T, dir string) string {
			t.Helper()
			mkdir(t, dir, 0o750)
			return dir
		}},
		{"a file", "not a folder", func(t *testing.T, dir string) string {
			t.Helper()
			if err := os.WriteFile(dir, nil, filePerm); err != nil {
				t.Fatal(err)
			}
			return dir
		}},
		{"of another user", "belongs to user", func(t *testing.T, dir string) string {
			t.Helper()
			if os.Geteuid() != 0 {
				return "/"
			}
			mkdir(t, dir, 0o700)
			if err := os.Chown(dir, 4242, -1); err != nil {
				t.Fatal(err)
			}
			return dir
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := c.make(t, newDir(t))
			before, _ := os.ReadDir(dir)
			_, err := Open(dir, Options{}, nil)
			if !errors.Is(err, ErrUnsafeDir) || !strings.Contains(err.Error(), c.reason) {
				t.Errorf("open: %v\nwant ErrUnsafeDir with %q", err, c.reason)
			}
			if after, _ := os.ReadDir(dir); len(after) != len(before) {
				t.Errorf("it holds %v, was %v", after, before)
			}
		})
	}
}

func mkdir(t *testing.T, dir string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, mode)); err != nil {
		t.Fatal(err)
	}
}

// TestAFolderThatIsSwappedKeepsItsLog (SEC-615) checks that an open log stays in its folder when the
// path of the folder is replaced by a link to another one.
func TestAFolderThatIsSwappedKeepsItsLog(t *testing.T) {
	dir := newDir(t)
	l, _ := openLog(t, dir, Options{SegmentBytes: MinSegmentBytes})
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := errors.Join(os.Rename(dir, dir+"-moved"), os.Mkdir(elsewhere, 0o700), os.Symlink(elsewhere, dir)); err != nil {
		t.Fatal(err)
	}
	// These records fill several segments.
	for id := range uint64(20) {
		add(t, l, Record{ID: id, Body: body(MinSegmentBytes/4, 'x')})
	}
	closeLog(t, l)
	if entries, err := os.ReadDir(elsewhere); err != nil || len(entries) != 0 {
		t.Errorf("the other folder holds %v, %v", entries, err)
	}
	if _, found := openLog(t, dir+"-moved", Options{SegmentBytes: MinSegmentBytes}); len(found) != 20 {
		t.Errorf("%d records found, want 20", len(found))
	}
}
