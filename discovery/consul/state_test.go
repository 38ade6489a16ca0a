package consul

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/limitlog"
)

var ordersKey = stateKey{Agent: "127.0.0.1:8500", Query: orders.String()}

func someMembers(t *testing.T) []member {
	t.Helper()
	in := discovery.Instance{
		ID: "orders-2", Service: "orders", Addr: "[2001:db8::1]:1", Tags: []string{"v2", "zone=eu"}, Weight: 3,
		Meta: map[string]string{"a": "b"}, Status: discovery.Draining, Started: time.UnixMilli(1_700_000_000_123),
	}.Normalized()
	in.Meta["dc"] = "dc1"
	all := members("orders-1")
	return append(all, member{Instance: in, node: "n", dc: "dc1", created: 7})
}

func mustCoder(tb testing.TB) coder {
	tb.Helper()
	c, err := newCoder()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestAStateComesBackWhole(t *testing.T) {
	c := mustCoder(t)
	want := someMembers(t)
	at := time.UnixMilli(1_700_000_000_456)
	data, err := c.encode(ordersKey, want, at)
	if err != nil {
		t.Fatal(err)
	}
	got, gotAt, err := c.decode(data, ordersKey, orders)
	if err != nil || !gotAt.Equal(at) || !sameMembers(got, want) || got[1].created != 7 {
		t.Errorf("got %+v of %v, %v", got, gotAt, err)
	}
	for name, key := range map[string]stateKey{
		"agent":      {Agent: "x", Query: ordersKey.Query},
		"datacenter": {Agent: ordersKey.Agent, Query: ordersKey.Query, Datacenter: "dc2"},
		"partition":  {Agent: ordersKey.Agent, Query: ordersKey.Query, Partition: "p"},
		"service":    {Agent: ordersKey.Agent, Query: "default/billing"},
	} {
		if _, _, err := c.decode(data, key, orders); !errors.Is(err, errState) {
			t.Errorf("the state of another %s: %v", name, err)
		}
	}
}

func FuzzState(f *testing.F) {
	c := mustCoder(f)
	for _, all := range [][]member{nil, members("a b c")} {
		data, err := c.encode(ordersKey, all, time.UnixMilli(1_700_000_000_000))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, data []byte) {
		all, at, err := c.decode(data, ordersKey, orders)
		if err != nil {
			if !errors.Is(err, errState) {
				t.Fatalf("error %v", err)
			}
			return
		}
		for i, m := range all {
			if m.Query() != orders || !m.Equal(m.Normalized()) {
				t.Fatalf("not normalized, or not asked for: %+v", m)
			}
			if i > 0 && compareMembers(all[i-1], m) >= 0 {
				t.Fatalf("not sorted: %+v", all)
			}
		}
		again, err := c.encode(ordersKey, all, at)
		if err != nil {
			t.Fatal(err)
		}
		back, backAt, err := c.decode(again, ordersKey, orders)
		if err != nil || !sameMembers(back, all) || !backAt.Equal(at) {
			t.Fatalf("%+v came back as %+v, %v", all, back, err)
		}
	})
}

func newTestSaver(t *testing.T, dir string) (*saver, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	s, err := newSaver(dir, limitlog.New(slog.New(slog.NewTextHandler(log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	return s, log
}

// newStateDir makes a folder that a Registry accepts for its state.
func newStateDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFilesOfOthersAreLeftOut(t *testing.T) {
	now := time.Now()
	for name, spoil := range map[string]func(t *testing.T, path string) error{
		"readable by others": func(_ *testing.T, path string) error { return os.Chmod(path, 0o644) },
		"a symbolic link": func(t *testing.T, path string) error {
			t.Helper()
			moved := filepath.Join(t.TempDir(), "moved")
			return errors.Join(os.Rename(path, moved), os.Symlink(moved, path))
		},
		"with a second name": func(t *testing.T, path string) error {
			t.Helper()
			return os.Link(path, filepath.Join(t.TempDir(), "second"))
		},
		"a directory": func(_ *testing.T, path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"garbage":     func(_ *testing.T, path string) error { return os.WriteFile(path, []byte("garbage"), 0o600) },
		"huge":        func(_ *testing.T, path string) error { return os.Truncate(path, maxStateFile+1) },
		"old": func(t *testing.T, path string) error {
			t.Helper()
			data, err := mustCoder(t).encode(ordersKey, members("orders-1"), now.Add(-stateMaxAge-time.Minute))
			return errors.Join(err, os.WriteFile(path, data, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, log := newTestSaver(t, filepath.Join(t.TempDir(), "state"))
			s.put(ordersKey, members("orders-1"), now)
			s.flush()
			if all, at := s.load(ordersKey, orders, now); len(all) != 1 || !at.Equal(now.Truncate(time.Millisecond)) {
				t.Fatalf("before: %+v of %v", all, at)
			}
			if err := spoil(t, s.path(ordersKey)); err != nil {
				t.Fatal(err)
			}
			if all, _ := s.load(ordersKey, orders, now); len(all) != 0 || log.lines("state file ignored") != 1 {
				t.Errorf("got %+v\n%s", all, log)
			}
		})
	}
}

func TestFilesArePrivateAndWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "state")
	s, log := newTestSaver(t, dir)
	for _, all := range []string{"orders-1", "orders-1 orders-2"} {
		s.put(ordersKey, members(all), time.Now())
		s.flush()
	}
	if runtime.GOOS != "windows" {
		for path, mode := range map[string]os.FileMode{dir: os.ModeDir | 0o700, s.path(ordersKey): 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode() != mode {
				t.Errorf("%s: %v, %v", path, info, err)
			}
		}
	}
	if all, _ := s.load(ordersKey, orders, time.Now()); len(all) != 2 {
		t.Errorf("got %+v", all)
	}
	s.put(ordersKey, nil, time.Now())
	s.flush()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("an empty set leaves %v, %v", entries, err)
	}
	if log.String() != "" {
		t.Errorf("log:\n%s", log)
	}
}

func TestAStateIsWrittenSoonAndNotOften(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTestSaver(t, dir)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.run(ctx)
		}()
		count := func() int {
			all, _ := s.load(ordersKey, orders, time.Now())
			return len(all)
		}
		s.put(ordersKey, members("a"), time.Now())
		settle(0)
		if n := count(); n != 1 {
			t.Errorf("%d instances at once, want 1", n)
		}
		s.put(ordersKey, members("a b"), time.Now())
		settle(saveEvery - 1)
		if n := count(); n != 1 {
			t.Errorf("%d instances before %v, want 1", n, saveEvery)
		}
		settle(1)
		if n := count(); n != 2 {
			t.Errorf("%d instances after %v, want 2", n, saveEvery)
		}
		s.put(ordersKey, members("a b c"), time.Now())
		cancel()
		<-done
		if n := count(); n != 3 {
			t.Errorf("%d instances after the end, want 3", n)
		}
	})
}

func TestOldFilesAreRemoved(t *testing.T) {
	dir := newStateDir(t)
	old := time.Now().Add(-stateMaxAge - time.Hour)
	older := time.Now().Add(-policyMaxAge - time.Hour)
	for name, at := range map[string]time.Time{
		"a.cbor": old, ".state-1": old, "notes.txt": older, "b.cbor": time.Now(), "c.policy": old, "d.policy": older,
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	s, _ := newTestSaver(t, dir)
	s.clean()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if !slices.Equal(left, []string{"b.cbor", "c.policy", "notes.txt"}) {
		t.Errorf("left: %s", strings.Join(left, " "))
	}
}

// TestAStateFolderOfOthersIsNotUsed checks that a folder that others can access, or that is a link, is neither read nor
// written (SEC-616).
func TestAStateFolderOfOthersIsNotUsed(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string) error{
		"a link": func(t *testing.T, dir string) error {
			t.Helper()
			return errors.Join(os.Rename(dir, dir+"-real"), os.Symlink(dir+"-real", dir))
		},
		"open to others": func(_ *testing.T, dir string) error { return os.Chmod(dir, 0o777) },
	} {
		t.Run(name, func(t *testing.T) {
			// Permission bits mean nothing on Windows.
			if runtime.GOOS == "windows" && name != "a link" {
				return
			}
			dir := newStateDir(t)
			s, log := newTestSaver(t, dir)
			s.put(ordersKey, members("orders-1"), time.Now())
			s.flush()
			path := s.path(ordersKey)
			before, err := os.ReadFile(path)
			if err := errors.Join(err, spoil(t, dir)); err != nil {
				t.Fatal(err)
			}
			if all, _ := s.load(ordersKey, orders, time.Now()); len(all) != 0 {
				t.Errorf("it was read: %+v", all)
			}
			s.put(ordersKey, members("orders-2"), time.Now())
			s.flush()
			s.put(ordersKey, nil, time.Now())
			s.flush()
			if after, err := os.ReadFile(path); err != nil || !slices.Equal(after, before) {
				t.Errorf("the file was changed, %v", err)
			}
			if log.lines(dir) < 3 {
				t.Errorf("nothing says why:\n%s", log)
			}
		})
	}
}
