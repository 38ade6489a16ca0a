//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/limitlog"
)

var _ discovery.Finder = (*Registry)(nil)

var placed = discovery.TagQuery{Tag: "topic:placed"}.Normalized()

func find(t *testing.T, r *Registry) <-chan []string {
	t.Helper()
	ch, err := r.Find(t.Context(), placed)
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func untilNames(t *testing.T, ch <-chan []string, want ...string) {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	var last []string
	for {
		select {
		case list, ok := <-ch:
			if !ok {
				t.Fatalf("channel closed while waiting for %q", want)
			}
			if last = list; slices.Equal(list, want) {
				return
			}
		case <-timer.C:
			t.Fatalf("not %q within %v; last list %q", want, within, last)
		}
	}
}

func TestAnUnreadableDirectoryWithdrawsNoName(t *testing.T) {
	dir := newDir(t)
	mkdir(t, dir, 0o700)
	in := instance("orders-1")
	in.Tags = []string{placed.Tag}
	// The file is not registered, because its owner would close the directory to others again.
	path := filepath.Join(dir, "orders-1.cbor")
	writeFile(t, path, encoded(t, in), 0o600)
	hold(t, path)
	r, log := newRegistry(t, dir)
	ch := find(t, r)
	untilNames(t, ch, "orders")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the directory is refused", func() bool { return log.lines("cannot be read") == 1 })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := in
	other.ID, other.Service = "users-1", "users"
	writeFile(t, filepath.Join(dir, "users-1.cbor"), encoded(t, other), 0o600)
	hold(t, filepath.Join(dir, "users-1.cbor"))
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// The next list is from the directory in order, so none was sent in between.
	if list := <-ch; !slices.Equal(list, []string{"users"}) {
		t.Errorf("found %q, want users", list)
	}
}

// TestFindingLooksAtFilesOnlyWhenTheDirectoryChanged spoils a file without changing the directory, and expects a scan
// to notice it only when the directory has changed.
func TestFindingLooksAtFilesOnlyWhenTheDirectoryChanged(t *testing.T) {
	r, _ := newRegistry(t, newDir(t))
	in := instance("orders-1")
	in.Tags = []string{placed.Tag}
	if err := r.dir.prepare(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.dir.path, "orders-1.cbor")
	writeFile(t, path, encoded(t, in), 0o600)
	hold(t, path)
	s := newScanner(r.dir, r.coder, limitlog.New(r.log))
	touch := func(ago time.Duration) {
		t.Helper()
		at := time.Now().Add(-ago)
		if err := os.Chtimes(r.dir.path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	scan := func(want bool, services ...string) {
		t.Helper()
		changed, err := s.scan(nil)
		if err != nil || changed != want {
			t.Errorf("changed: %t, want %t; %v", changed, want, err)
		}
		if got := s.services([]discovery.TagQuery{placed})[placed]; !slices.Equal(got, services) {
			t.Errorf("services %q, want %q", got, services)
		}
	}
	touch(time.Minute)
	scan(true, "orders")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	scan(false, "orders")
	touch(time.Second)
	scan(true)
}
