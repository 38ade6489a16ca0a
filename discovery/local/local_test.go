//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/discovery/discoverytest"
)

// childEnv makes the test binary a process that announces an instance; see runChild.
const childEnv = "LINK_LOCAL_TEST_CHILD"

// within bounds the waits for events. On a busy disk a rename can take very long.
const within = 5 * time.Minute

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(runChild())
	}
	goleak.VerifyTestMain(m)
}

func TestContract(t *testing.T) {
	open := func(t *testing.T) discovery.Registry {
		t.Helper()
		r, _ := newRegistry(t, newDir(t))
		return r
	}
	discoverytest.Run(t, discoverytest.Backend{Open: open, OpenShared: func(t *testing.T) (a, b discovery.Registry) {
		t.Helper()
		dir := newDir(t)
		a, _ = newRegistry(t, dir)
		b, _ = newRegistry(t, dir)
		return a, b
	}})
}

// newDir returns a directory that does not exist yet.
func newDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "mesh")
}

func newRegistry(t *testing.T, dir string) (*Registry, *logBuffer) {
	t.Helper()
	log := &logBuffer{}
	r, err := New(Config{Dir: dir, Poll: 2 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, log
}

// logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// lines counts the lines that contain text.
func (l *logBuffer) lines(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func instance(id string) discovery.Instance {
	return discovery.Instance{ID: id, Service: "orders", Addr: "192.0.2.1:7443"}
}

func register(t *testing.T, r *Registry, in discovery.Instance) discovery.Registration {
	t.Helper()
	g, err := r.Register(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func watch(t *testing.T, r *Registry) <-chan discovery.Snapshot {
	t.Helper()
	ch, err := r.Watch(t.Context(), discovery.Query{Service: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// until reads snapshots until want reports true, and returns that snapshot.
func until(t *testing.T, ch <-chan discovery.Snapshot, what string, want func(discovery.Snapshot) bool) discovery.Snapshot {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	var last discovery.Snapshot
	for {
		select {
		case s, ok := <-ch:
			if !ok {
				t.Fatalf("channel closed while waiting for %s", what)
			}
			last = s
			if want(s) {
				return s
			}
		case <-timer.C:
			t.Fatalf("no %s within %v; last snapshot %+v", what, within, last)
		}
	}
}

func untilIDs(t *testing.T, ch <-chan discovery.Snapshot, want ...string) discovery.Snapshot {
	t.Helper()
	slices.Sort(want)
	return until(t, ch, "snapshot of exactly "+strings.Join(want, ", "), func(s discovery.Snapshot) bool {
		return slices.EqualFunc(s.Instances, want, func(in discovery.Instance, id string) bool { return in.ID == id })
	})
}

// eventually polls until holds reports true. It is for changes that are not announced.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for start := time.Now(); !holds(); <-ticker.C {
		if time.Since(start) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func encoded(t *testing.T, in discovery.Instance) []byte {
	t.Helper()
	c, err := newCoder()
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.encode(in.Normalized())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// writeFile makes a complete file appear at once, because a poller may be reading the directory.
func writeFile(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	whole := filepath.Join(t.TempDir(), filepath.Base(path))
	if err := errors.Join(os.WriteFile(whole, data, mode), os.Chmod(whole, mode), os.Rename(whole, path)); err != nil {
		t.Fatal(err)
	}
}

// names lists the entries of a directory that do not begin with a dot.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			all = append(all, e.Name())
		}
	}
	return all
}
