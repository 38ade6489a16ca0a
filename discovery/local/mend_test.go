//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/limitlog"
)

func TestWhatSomebodyChangesIsPutInOrderAndSaidOnce(t *testing.T) {
	file := func(dir string) string { return filepath.Join(dir, "orders-1.cbor") }
	rewrite := func(data []byte) func(dir string) error {
		return func(dir string) error { return os.WriteFile(file(dir), data, 0o600) }
	}
	other := instance("orders-1")
	// This address has the same length, so the size of the file does not change.
	other.Addr = "192.0.2.1:7444"
	for name, c := range map[string]struct {
		change func(dir string) error
		says   string
	}{
		"the mode of the file":      {func(dir string) error { return os.Chmod(file(dir), 0o644) }, "has mode 0644, want 0600"},
		"the file cut to nothing":   {rewrite(nil), "does not hold what was written"},
		"the file overwritten":      {rewrite(encoded(t, other)), "does not hold what was written"},
		"the file grown":            {func(dir string) error { return os.Truncate(file(dir), maxFile+1) }, "want at most"},
		"the mode of the directory": {func(dir string) error { return os.Chmod(dir, 0o755) }, "directory was open to other users"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			holder, log := newRegistry(t, dir)
			in := instance("orders-1")
			g := register(t, holder, in)
			for n := 1; n <= 2; n++ {
				if err := c.change(dir); err != nil {
					t.Fatal(err)
				}
				eventually(t, "a log line", func() bool { return log.lines(c.says) == n })
				// A new reader sees the instance only if everything is in order again.
				r, _ := newRegistry(t, dir)
				got := untilIDs(t, watch(t, r), "orders-1").Instances[0]
				if got.Addr != in.Addr {
					t.Errorf("it shows %s, want %s", got.Addr, in.Addr)
				}
				for path, want := range map[string]fs.FileMode{dir: fs.ModeDir | 0o700, file(dir): 0o600} {
					if info, err := os.Lstat(path); err != nil || info.Mode() != want {
						t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
					}
				}
			}
			if n := strings.Count(log.String(), "\n"); n != 2 {
				t.Errorf("%d log lines for 2 changes:\n%s", n, log)
			}
			in.Tags = []string{"v2"}
			if err := errors.Join(g.Update(t.Context(), in), g.Close()); err != nil {
				t.Errorf("Update and Close afterwards: %v", err)
			}
			if left := names(t, dir); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestAClientFindsAMendedInstanceAgain checks that a client that watched before the change sees the instance again.
func TestAClientFindsAMendedInstanceAgain(t *testing.T) {
	dir := newDir(t)
	holder, _ := newRegistry(t, dir)
	register(t, holder, instance("orders-1"))
	r, _ := newRegistry(t, dir)
	ch := watch(t, r)
	untilIDs(t, ch, "orders-1")
	in, err := os.Lstat(filepath.Join(dir, "orders-1.cbor"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "orders-1.cbor"), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another file", func() bool {
		now, err := os.Lstat(filepath.Join(dir, "orders-1.cbor"))
		return err == nil && now.Mode() == 0o600 && !os.SameFile(in, now)
	})
	// The snapshot with this instance comes after any about the change.
	late := instance("orders-2")
	register(t, holder, late)
	untilIDs(t, ch, "orders-1", "orders-2")
}

func TestADirectoryThatCannotBePutInOrderIsSaidOnce(t *testing.T) {
	dir := newDir(t)
	mkdir(t, dir+".real", 0o700)
	if err := os.Symlink(dir+".real", dir); err != nil {
		t.Fatal(err)
	}
	r, log := newRegistry(t, dir)
	p := &poller{registry: r, scanner: newScanner(r.dir, r.coder, limitlog.New(r.log))}
	for range 3 {
		if p.keep() {
			t.Error("a symbolic link passes for the directory")
		}
	}
	if n := log.lines("is a symbolic link"); n != 1 {
		t.Errorf("%d log lines:\n%s", n, log)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if !p.keep() {
			t.Error("the directory was not made again")
		}
	}
	if n := log.lines("in order again"); n != 1 {
		t.Errorf("%d log lines:\n%s", n, log)
	}
}

// TestAnOldFileIsJudgedByItsTimeStamp checks that a file is read repeatedly only until its time stamp can be trusted.
func TestAnOldFileIsJudgedByItsTimeStamp(t *testing.T) {
	r, _ := newRegistry(t, newDir(t))
	data := encoded(t, instance("orders-1"))
	if err := r.dir.prepare(); err != nil {
		t.Fatal(err)
	}
	path, f, err := r.dir.stage(data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(f.Close(), os.Remove(path)) })
	g := newRegistration(r, discovery.Instance{ID: "orders-1"}, data)
	g.file = f
	if reason := g.spoiled(); reason != "" || g.intact != (fileVersion{}) {
		t.Errorf("a fresh file: %q, remembered %v", reason, g.intact)
	}
	eventually(t, "the file is remembered", func() bool { return g.spoiled() == "" && g.intact != fileVersion{} })
	info, err := f.Stat()
	if err != nil || time.Since(info.ModTime()) < settleTime {
		t.Errorf("remembered after %v, want %v, %v", time.Since(info.ModTime()), settleTime, err)
	}
}
