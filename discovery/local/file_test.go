//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package local

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/internal/bounds"
	"github.com/linkmesh/link/internal/limitlog"
)

func mustDuration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// hold locks a file as a live process would.
func hold(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := lock(f, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}

func TestAFileWithoutAHolderIsRemoved(t *testing.T) {
	dir := newDir(t)
	r, log := newRegistry(t, dir)
	ch := watch(t, r)
	untilIDs(t, ch)
	path := filepath.Join(dir, "orders-dead.cbor")
	writeFile(t, path, encoded(t, instance("orders-dead")), 0o600)
	eventually(t, "the file is removed", func() bool { return len(names(t, dir)) == 0 })
	if len(ch) != 0 || log.String() != "" {
		t.Errorf("a dead instance was shown or logged: %s", log)
	}
}

func TestOneReaderDoesNotTakeAnotherForTheHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders-dead.cbor")
	writeFile(t, path, encoded(t, instance("orders-dead")), 0o600)
	var handles []*handle
	for range 3 {
		h, _, err := openFile(path)
		if err != nil {
			t.Fatal(err)
		}
		defer h.close()
		if !h.abandoned() {
			t.Error("a reader took another reader's look for a holder")
		}
		handles = append(handles, h)
	}
	handles[0].reap()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("removed while others look at it, although one of them might be about to: %v", err)
	}
}

func TestAReaperSparesASuccessor(t *testing.T) {
	dir := newDir(t)
	r, _ := newRegistry(t, dir)
	if err := r.dir.prepare(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "orders-1.cbor")
	writeFile(t, path, encoded(t, instance("orders-1")), 0o600)
	// A reader has opened the dead file.
	h, _, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	// A new process takes its place.
	g := register(t, r, instance("orders-1"))
	h.reap()
	if !leadsTo(path, inode(g.(*registration).file)) { //nolint:errcheck // a wrong type should panic
		t.Error("the reaper of the old file removed the new one")
	}
}

func TestAReaderThatMeetsAnUpdateHalfwayLooksAgain(t *testing.T) {
	dir := newDir(t)
	r, _ := newRegistry(t, dir)
	in := instance("orders-1")
	g := register(t, r, in)
	s := newScanner(r.dir, r.coder, limitlog.New(r.log))
	q := in.Query()
	if _, err := s.scan(map[discovery.Query]bool{q: true}); err != nil || len(s.instances(q)) != 1 {
		t.Fatalf("%+v, %v", s.instances(q), err)
	}
	before := s.entries["orders-1"]
	h, _, err := openFile(filepath.Join(dir, "orders-1.cbor"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	in.Tags = []string{"v2"}
	if err := g.Update(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	if !h.abandoned() {
		t.Error("the old version is still held")
	}
	if next, again := s.inspect(h, before); next != before || !again {
		t.Errorf("a replaced file was taken for a dead one: %+v, %t", next, again)
	}
	if next := s.check("orders-1", before); next == nil || !next.in.Equal(in.Normalized()) {
		t.Errorf("the second look shows %+v", next)
	}
}

func TestAListingThatMissesAFileDoesNotLoseIt(t *testing.T) {
	r, _ := newRegistry(t, newDir(t))
	s := newScanner(r.dir, r.coder, limitlog.New(r.log))
	info, err := r.dir.stat()
	if err != nil {
		t.Fatal(err)
	}
	known := &entry{version: fileVersion{ino: 1}, in: instance("orders-1").Normalized()}
	s.entries["orders-1"], s.ids = known, []string{"orders-1"}
	if _, err := s.list(info); err != nil || s.entries["orders-1"] != known {
		t.Errorf("a listing dropped an entry by itself: %v, %v", s.entries, err)
	}
	s.listed = nil
	if changed, err := s.scan(nil); err != nil || !changed || len(s.entries)+len(s.ids) != 0 {
		t.Errorf("the check kept a file that is gone: %v %q, %v", s.entries, s.ids, err)
	}
}

func TestLitterOfAStartThatFailedIsRemoved(t *testing.T) {
	dir := newDir(t)
	r, _ := newRegistry(t, dir)
	register(t, r, instance("orders-1"))
	plant := func(name string, age time.Duration) string {
		path := filepath.Join(dir, stagedPrefix+name)
		writeFile(t, path, []byte("x"), 0o600)
		then := time.Now().Add(-age)
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, held, fresh := plant("old", 2*stagedAge), plant("held", 2*stagedAge), plant("fresh", 0)
	hold(t, held)
	untilIDs(t, watch(t, r), "orders-1")
	eventually(t, "the old file is removed", func() bool { _, err := os.Lstat(old); return isMissing(err) })
	for _, path := range []string{held, fresh} {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("removed too early: %v", err)
		}
	}
}

func TestWhatSomebodyRemovesIsWrittenAgain(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"the file": func(dir string) error { return os.Remove(filepath.Join(dir, "orders-1.cbor")) },
		// The directory goes in one step, because the poller puts files into it.
		"the directory": func(dir string) error {
			away := dir + "-" + rand.Text()
			return errors.Join(os.Rename(dir, away), os.RemoveAll(away))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newDir(t)
			holder, log := newRegistry(t, dir)
			g := register(t, holder, instance("orders-1"))
			for range 3 {
				// A new reader sees the instance only if its file is there again.
				r, _ := newRegistry(t, dir)
				untilIDs(t, watch(t, r), "orders-1")
				if err := remove(dir); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the file is back", func() bool {
					_, err := os.Lstat(filepath.Join(dir, "orders-1.cbor"))
					return err == nil
				})
			}
			in := instance("orders-1")
			in.Tags = []string{"v2"}
			if err := errors.Join(remove(dir), g.Update(t.Context(), in), remove(dir), g.Close()); err != nil {
				t.Errorf("Update and Close without the file: %v", err)
			}
			if log.String() != "" {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// TestADirectoryThatGoesWhileItIsExaminedIsMadeAgain has somebody take the directory away once beside each of many
// preparations.
func TestADirectoryThatGoesWhileItIsExaminedIsMadeAgain(t *testing.T) {
	path, away := newDir(t), t.TempDir()
	d := directory{path: path, made: []string{path}}
	turns, ended := make(chan int), make(chan struct{})
	go func() {
		defer close(ended)
		for n := range turns {
			_ = os.Rename(path, filepath.Join(away, strconv.Itoa(n)))
		}
	}()
	for n := range 5_000 {
		turns <- n
		if err := d.prepare(); err != nil {
			t.Errorf("preparation %d: %v", n, err)
			break
		}
	}
	close(turns)
	<-ended
}

func TestANameTakenOverIsLeftAloneAndSaidOnce(t *testing.T) {
	dir := newDir(t)
	holder, log := newRegistry(t, dir)
	g := register(t, holder, instance("orders-1"))
	path := filepath.Join(dir, "orders-1.cbor")

	// A file that another process holds replaces ours.
	other := instance("orders-1")
	other.Addr = "192.0.2.99:7443"
	usurper := filepath.Join(dir, "usurper")
	writeFile(t, usurper, encoded(t, other), 0o600)
	hold(t, usurper)
	if err := os.Rename(usurper, path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a log line", func() bool { return log.lines("cannot be written again") == 1 })
	if err := g.Update(t.Context(), instance("orders-1")); !errors.Is(err, discovery.ErrDuplicateID) {
		t.Errorf("Update: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if got := untilIDs(t, watch(t, holder), "orders-1").Instances[0].Addr; got != other.Addr {
		t.Errorf("the other's file was touched: %s", got)
	}
	if n := log.lines("cannot be written again"); n != 1 {
		t.Errorf("%d log lines:\n%s", n, log)
	}
}

func TestAnUnreadableDirectoryKeepsTheLastInstances(t *testing.T) {
	dir := newDir(t)
	mkdir(t, dir, 0o700)
	// The file is not registered, because its owner would close the directory to others again.
	path := filepath.Join(dir, "orders-1.cbor")
	writeFile(t, path, encoded(t, instance("orders-1")), 0o600)
	hold(t, path)
	r, log := newRegistry(t, dir)
	ch := watch(t, r)
	good := untilIDs(t, ch, "orders-1")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	stale := until(t, ch, "stale snapshot", func(s discovery.Snapshot) bool { return s.Stale })
	if len(stale.Instances) != 1 || !stale.At.Equal(good.At) || stale.Version <= good.Version {
		t.Errorf("stale snapshot %+v after %+v", stale, good)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	fresh := until(t, ch, "fresh snapshot", func(s discovery.Snapshot) bool { return !s.Stale })
	if len(fresh.Instances) != 1 || !fresh.At.After(good.At) {
		t.Errorf("fresh snapshot %+v", fresh)
	}
	if log.lines("cannot be read") != 1 || log.lines("can be read again") != 1 {
		t.Errorf("log:\n%s", log)
	}
}

func TestInstancesOfAServiceAreBounded(t *testing.T) {
	log := &logBuffer{}
	s := newScanner(directory{}, coder{}, limitlog.New(slog.New(slog.NewTextHandler(log, nil))))
	q := discovery.Query{Service: "orders"}.Normalized()
	for i := range bounds.MaxInstances + 1 {
		id := "orders-" + strconv.Itoa(10_000+i)
		s.ids = append(s.ids, id)
		s.entries[id] = &entry{version: fileVersion{ino: 1}, in: instance(id).Normalized(), query: q}
	}
	for range 2 {
		if got := s.instances(q); len(got) != bounds.MaxInstances || got[0].ID != "orders-10000" {
			t.Errorf("%d instances from %s, want the first %d", len(got), got[0].ID, bounds.MaxInstances)
		}
	}
	if n := log.lines("too many instances"); n != 1 {
		t.Errorf("%d log lines, want 1", n)
	}
}

func TestAFloodOfLogLinesIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logBuffer{}
		s := newScanner(directory{}, coder{}, limitlog.New(slog.New(slog.NewTextHandler(log, nil))))
		for i := range 100 {
			s.skip("flood", fileVersion{ino: uint64(i)}, &entry{}, errUnfit)
		}
		if n := log.lines("flood"); n != limitlog.Burst {
			t.Errorf("%d lines, want %d", n, limitlog.Burst)
		}
		<-time.After(2 * limitlog.Every)
		s.skip("after", fileVersion{}, &entry{}, errUnfit)
		if log.lines("lines_dropped=80") != 1 {
			t.Errorf("nothing says that 80 lines are missing:\n%s", log)
		}
	})
}

func TestAnIdleRegistryAsksForNoMoreRounds(t *testing.T) {
	r, _ := newRegistry(t, newDir(t))
	p := &poller{registry: r, scanner: newScanner(r.dir, r.coder, limitlog.New(r.log))}
	if p.round(t.Context()) {
		t.Error("a registry without watches and registrations keeps polling")
	}
	g := register(t, r, instance("orders-1"))
	if !p.round(t.Context()) {
		t.Error("a registry with a registration does not look after it")
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if p.round(t.Context()) {
		t.Error("a registry keeps polling for a closed registration")
	}
}
