//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package wal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/linkmesh/link/internal/race"
)

// How often TestAKilledProcessLosesNothingCommitted kills its process.
const (
	kills      = 200
	killsShort = 10
)

const childSegment = 8 << 10

// How many more IDs the child appends before it ends an ID. Every fourth ID has the long life.
const (
	childLife     = 20
	childLongLife = 400
)

// childBody returns the body that the child writes for an ID.
func childBody(id uint64) []byte {
	return bytes.Repeat([]byte(strconv.FormatUint(id, 10)+" "), 1+int(id%40))
}

// childRecords returns what the child appends for an ID: its record, and the ends of older IDs.
func childRecords(id uint64) []Record {
	records := []Record{{Kind: 1, ID: id, Body: childBody(id)}}
	if old := id - childLife; id > childLife && old%4 != 0 {
		records = append(records, Record{Kind: 2, ID: old, End: true})
	}
	if old := id - childLongLife; id > childLongLife && old%4 == 0 {
		records = append(records, Record{Kind: 2, ID: old, End: true})
	}
	return records
}

// runChild runs the child process of these tests, and returns its exit code. The child reports IDs
// on its standard output, one per line.
func runChild(role, dir string) int {
	run := map[string]func(string) error{"append": childAppends, "full": childFillsDisk}[role]
	if err := run(dir); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// childAppends appends until it is killed, and reports every third ID once it is committed.
func childAppends(dir string) error {
	last := uint64(0)
	l, err := Open(dir, Options{SegmentBytes: childSegment}, func(r Record) error {
		if !r.End {
			last = max(last, r.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id := last + 1; ; id++ {
		end, err := l.Append(childRecords(id)...)
		if err == nil && id%3 == 0 {
			if err = l.Commit(context.Background(), end); err == nil {
				_, err = fmt.Fprintln(os.Stdout, id)
			}
		}
		if err != nil {
			return err
		}
	}
}

func child(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), exe, dir)
	cmd.Env = append(os.Environ(), childEnv+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestAKilledProcessLosesNothingCommitted(t *testing.T) {
	rounds := race.Fewer(kills, 40)
	if testing.Short() {
		rounds = killsShort
	}
	dir := newDir(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	committed, torn := uint64(0), int64(0)
	kept := make(map[uint64]bool)
	for round := range rounds {
		cmd := child(t, "append", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := rnd.IntN(60); n >= 0 && lines.Scan(); n-- {
			if committed, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Duration(rnd.IntN(1000)) * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		// All IDs that it reported before it was killed count. The last line may be cut short.
		for lines.Scan() {
			if id, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
				committed = max(committed, id)
			}
		}
		if _, ok := errors.AsType[*exec.ExitError](cmd.Wait()); !ok {
			t.Fatal("the process ended by itself")
		}
		l, found := openLog(t, dir, Options{SegmentBytes: childSegment})
		torn += l.Recovery().Truncated
		checkChild(t, round, found, committed, kept)
		if s := l.Stats(); round == rounds-1 && s.End < 10*childSegment {
			t.Errorf("the log ends at %d, too early for compaction to have been tested", s.End)
		}
		closeLog(t, l)
	}
	t.Logf("%d kills, %d IDs committed, %d bytes of unfinished writes cut off", rounds, committed, torn)
}

// checkChild compares what was found with what the child must have written. kept holds the IDs
// whose end was cut off by a kill. They stay live, because the next child does not end them again.
func checkChild(t *testing.T, round int, found state, committed uint64, kept map[uint64]bool) {
	t.Helper()
	last := uint64(0)
	for id, records := range found {
		last = max(last, id)
		for pos, got := range records {
			if want := fmt.Sprintf("1:%s", childBody(id)); got != want || len(records) != 1 {
				t.Fatalf("kill %d: ID %d at %d of %d: %q, want %q", round, id, pos, len(records), got, want)
			}
		}
	}
	if last < committed {
		t.Fatalf("kill %d: the last ID is %d, but %d was committed", round, last, committed)
	}
	for id := uint64(1); id <= last; id++ {
		life := uint64(childLife)
		if id%4 == 0 {
			life = childLongLife
		}
		_, ok := found[id]
		// An ID that was ended in the last write may or may not have its end.
		if last-id == life {
			kept[id] = ok
		} else if ok != (last-id < life || kept[id]) {
			t.Fatalf("kill %d: ID %d of %d found: %v", round, id, last, ok)
		}
	}
}

// childFillsDisk limits the size of files, appends until the limit refuses an append, lifts it, and
// expects the next append to succeed. It reports the last ID.
func childFillsDisk(dir string) error {
	const most = 20_000
	signal.Ignore(unix.SIGXFSZ)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	before := limit.Cur
	limit.Cur = most
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	l, err := Open(dir, Options{}, nil)
	if err != nil {
		return err
	}
	id := uint64(1)
	for ; err == nil && id < most; id++ {
		_, err = l.Append(Record{Kind: 1, ID: id, Body: childBody(id)})
	}
	if !errors.Is(err, ErrNoSpace) || !errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("append to a full file: %w", err)
	}
	if s := l.Stats(); s.DiskBytes > most || s.Refused != 1 {
		return fmt.Errorf("with %d bytes allowed: %+v", most, s)
	}
	limit.Cur = before
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if _, err := l.Append(Record{Kind: 1, ID: id - 1, Body: childBody(id - 1)}); err != nil {
		return fmt.Errorf("append once there is room: %w", err)
	}
	if err := l.Close(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, id-1)
	return err
}

func TestAFileThatMayNotGrowRefusesAndTheLogGoesOn(t *testing.T) {
	dir := newDir(t)
	out, err := child(t, "full", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	last, err := strconv.Atoi(string(bytes.TrimSpace(out)))
	if err != nil {
		t.Fatal(err)
	}
	l, found := openLog(t, dir, Options{})
	if len(found) != last || l.Recovery().Truncated != 0 {
		t.Errorf("%d IDs found, want %d: %+v", len(found), last, l.Recovery())
	}
}

func TestAFolderIsOpenOnce(t *testing.T) {
	dir := newDir(t)
	l, _ := openLog(t, dir, Options{})
	if _, err := Open(dir, Options{}, nil); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v, want %v", err, ErrLocked)
	}
	closeLog(t, l)
	// Close is idempotent.
	closeLog(t, l)
	if _, err := l.Append(Record{ID: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v, want %v", err, ErrClosed)
	}
	openLog(t, dir, Options{})
}

func TestModesOfFolderAndFiles(t *testing.T) {
	dir := newDir(t)
	l, _ := openLog(t, dir, Options{})
	closeLog(t, l)
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != filePerm {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}, nil); !errors.Is(err, ErrUnsafeDir) {
		t.Errorf("open of a folder that others can read: %v", err)
	}
}
