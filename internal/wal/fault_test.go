package wal

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// faulty is a real folder in which a test can make calls fail.
type faulty struct {
	folder

	mu   sync.Mutex // guards the fields below
	fail map[string]error
	// short is how many bytes a failing write still writes.
	short int
	calls map[string]int
}

func newFaulty(tb testing.TB) *faulty {
	tb.Helper()
	return &faulty{folder: newFolder(tb), fail: make(map[string]error), calls: make(map[string]int)}
}

func (f *faulty) opened(tb testing.TB, opts Options) (*Log, state) {
	tb.Helper()
	s := make(state)
	opts, err := opts.withDefaults()
	if err != nil {
		tb.Fatal(err)
	}
	l, err := open(f.Path(""), f, opts, s.replay)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l, s
}

// set makes a call fail with err from now on. If err is nil, the call succeeds again.
func (f *faulty) set(call string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail[call] = err
}

func (f *faulty) check(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[call]++
	if err := f.fail[call]; err != nil {
		return &os.PathError{Op: call, Path: "file", Err: err}
	}
	return nil
}

func (f *faulty) count(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[call]
}

func (f *faulty) create(name string) (file, error) {
	if err := f.check("create"); err != nil {
		return nil, err
	}
	got, err := f.folder.create(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{got, f}, nil
}

func (f *faulty) open(name string) (file, error) {
	got, err := f.folder.open(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{got, f}, nil
}

func (f *faulty) rename(from, to string) error {
	if err := f.check("rename"); err != nil {
		return err
	}
	return f.folder.rename(from, to)
}

func (f *faulty) remove(name string) error {
	if err := f.check("remove"); err != nil {
		return err
	}
	return f.folder.remove(name)
}

func (f *faulty) syncDir() error {
	if err := f.check("syncDir"); err != nil {
		return err
	}
	return f.folder.syncDir()
}

type faultyFile struct {
	file
	f *faulty
}

func (f *faultyFile) WriteAt(b []byte, offset int64) (int, error) {
	if err := f.f.check("write"); err != nil {
		n, writeErr := f.file.WriteAt(b[:min(f.f.short, len(b))], offset)
		return n, errors.Join(err, writeErr)
	}
	return f.file.WriteAt(b, offset)
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.f.check("truncate"); err != nil {
		return err
	}
	return f.file.Truncate(size)
}

func (f *faultyFile) Sync() error {
	if err := f.f.check("sync"); err != nil {
		return err
	}
	return f.file.Sync()
}

func TestAFailedSyncFreezesTheLogForGood(t *testing.T) {
	f := newFaulty(t)
	reports := make(chan error, 16)
	l, _ := f.opened(t, Options{OnDurable: func(_ Position, err error) { reports <- err }})
	first := add(t, l, Record{Kind: 1, ID: 1, Body: []byte("safe")})
	if err := l.Commit(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if err := <-reports; err != nil {
		t.Fatal(err)
	}
	f.set("sync", syscall.EIO)
	second := add(t, l, Record{Kind: 1, ID: 2, Body: []byte("lost")})
	err := l.Commit(t.Context(), second)
	frozen, ok := errors.AsType[*FrozenError](err)
	if !ok || frozen.Op != "sync" || !errors.Is(err, syscall.EIO) {
		t.Fatalf("commit over a failed sync: %v", err)
	}
	if err := <-reports; !errors.As(err, &frozen) {
		t.Fatalf("OnDurable got %v", err)
	}
	// The next sync succeeds, as it does in the kernel.
	f.set("sync", nil)
	syncs := f.count("sync")
	if err := l.Commit(t.Context(), second); !errors.As(err, &frozen) {
		t.Errorf("second commit: %v", err)
	}
	if _, err := l.Append(Record{ID: 3}); !errors.As(err, &frozen) {
		t.Errorf("append: %v", err)
	}
	if err := l.Commit(t.Context(), first); err != nil {
		t.Errorf("commit of what is durable: %v", err)
	}
	if got := l.Durable(); got != first {
		t.Errorf("durable moved to %d, want %d", got, first)
	}
	if err := l.Close(); !errors.As(err, &frozen) {
		t.Errorf("close: %v", err)
	}
	if got := f.count("sync"); got != syncs {
		t.Errorf("%d more syncs of a frozen log", got-syncs)
	}
	if len(reports) != 0 {
		t.Errorf("OnDurable was called again: %v", <-reports)
	}
}

func TestErrorsThatFreeze(t *testing.T) {
	for _, tt := range []struct {
		name, call, op string
		err            error
		// also is another call that fails.
		also string
	}{
		{name: "read-only file system", call: "write", err: syscall.EROFS, op: "write"},
		{name: "write error", call: "write", err: syscall.EIO, op: "write"},
		{name: "no space, and the rest cannot be cut off", call: "write", err: syscall.ENOSPC, also: "truncate", op: "cut off a refused append in"},
		{name: "no space at the sync", call: "sync", err: syscall.ENOSPC, op: "sync"},
		{name: "new segment", call: "create", err: syscall.EACCES, op: "create"},
		{name: "name of a new segment", call: "rename", err: syscall.EIO, op: "publish"},
		{name: "sync of the folder", call: "syncDir", err: syscall.EIO, op: "publish"},
		{name: "removal", call: "remove", err: syscall.EIO, op: "remove"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaulty(t)
			reported := make(chan error, 1)
			l, _ := f.opened(t, Options{SegmentBytes: MinSegmentBytes, OnDurable: func(_ Position, err error) {
				if err != nil {
					reported <- err
				}
			}})
			f.set(tt.call, tt.err)
			if tt.also != "" {
				f.set(tt.also, syscall.EIO)
			}
			var err error
			for id := uint64(0); err == nil; id++ {
				var pos Position
				if pos, err = l.Append(Record{ID: id, Body: body(500, 'x')}, Record{ID: id, End: true}); err == nil {
					err = l.Commit(t.Context(), pos)
				}
			}
			frozen, ok := errors.AsType[*FrozenError](err)
			if !ok || frozen.Op != tt.op || !errors.Is(err, tt.err) {
				t.Fatalf("got %v, want a log frozen by %s: %v", err, tt.op, tt.err)
			}
			if err := <-reported; !errors.Is(err, tt.err) {
				t.Errorf("OnDurable got %v", err)
			}
			f.set(tt.call, nil)
			f.set(tt.also, nil)
			if _, err := l.Append(Record{ID: 1}); !errors.Is(err, tt.err) {
				t.Errorf("a later append: %v", err)
			}
			if err := l.Close(); !errors.Is(err, tt.err) {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func TestAFullDiskRefusesAndTheLogGoesOn(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		for _, short := range []int{0, 10, int(recordSize(4)), int(recordSize(4)) + 30} {
			f := newFaulty(t)
			l, _ := f.opened(t, Options{})
			add(t, l, Record{Kind: 1, ID: 1, Body: []byte("kept")})
			before := l.Stats()
			f.short = short
			f.set("write", cause)
			for range 2 {
				_, err := l.Append(Record{Kind: 1, ID: 2, Body: []byte("lost")}, Record{Kind: 1, ID: 3, Body: []byte("lost")})
				if !errors.Is(err, ErrNoSpace) || !errors.Is(err, cause) {
					t.Fatalf("append to a full disk: %v", err)
				}
			}
			after := l.Stats()
			if after.Refused != 2 || after.End != before.End || after.DiskBytes != before.DiskBytes || after.LiveIDs != 1 {
				t.Errorf("refused appends changed %+v to %+v", before, after)
			}
			f.set("write", nil)
			end := add(t, l, Record{Kind: 1, ID: 4, Body: []byte("room")})
			if err := l.Commit(t.Context(), end); err != nil {
				t.Fatal(err)
			}
			closeLog(t, l)
			l, found := f.opened(t, Options{})
			want := map[uint64][]string{1: {"1:kept"}, 4: {"1:room"}}
			if diff := cmp.Diff(want, found.records()); diff != "" || l.Recovery().Truncated != 0 {
				t.Errorf("replayed, short %d (-want +got):\n%s%+v", short, diff, l.Recovery())
			}
			closeLog(t, l)
		}
	}
}

func TestAFullDiskRefusesANewSegment(t *testing.T) {
	f := newFaulty(t)
	l, _ := f.opened(t, Options{SegmentBytes: MinSegmentBytes})
	for id := range uint64(3) {
		add(t, l, Record{ID: id, Body: body(1000, 'x')})
	}
	f.set("create", syscall.ENOSPC)
	if _, err := l.Append(Record{ID: 3, Body: body(2000, 'x')}); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("append with no space for a segment: %v", err)
	}
	f.set("create", nil)
	add(t, l, Record{ID: 3, Body: body(2000, 'x')})
	closeLog(t, l)
	if _, found := f.opened(t, Options{SegmentBytes: MinSegmentBytes}); len(found) != 4 {
		t.Errorf("%d IDs replayed, want 4", len(found))
	}
}

func TestWhatEndsOnAFullDiskMakesRoom(t *testing.T) {
	f := newFaulty(t)
	l, _ := f.opened(t, Options{SegmentBytes: MinSegmentBytes})
	const ids = 30
	for id := range uint64(ids) {
		add(t, l, Record{ID: id, Body: body(1000, 'x')})
	}
	if err := l.Commit(t.Context(), l.Stats().End); err != nil {
		t.Fatal(err)
	}
	f.set("write", syscall.ENOSPC)
	for id := range uint64(ids) {
		if _, err := l.Append(Record{ID: id, End: true}); !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
	}
	settle(t, l)
	if s := l.Stats(); s.DiskBytes > MinSegmentBytes || s.LiveIDs != 0 || s.Refused != ids {
		t.Errorf("after all has ended: %+v", s)
	}
}

func TestCompactionThatFindsNoSpaceGoesOnLater(t *testing.T) {
	f := newFaulty(t)
	opts := Options{SegmentBytes: MinSegmentBytes}
	l, _ := f.opened(t, opts)
	const ids = 40
	for id := range uint64(ids) {
		add(t, l, Record{ID: id, Body: body(500, 'x')})
	}
	if err := l.Commit(t.Context(), l.Stats().End); err != nil {
		t.Fatal(err)
	}
	f.set("write", syscall.ENOSPC)
	// The last ID stays live, and so does the second one of the first segment.
	for id := range uint64(ids - 1) {
		if id != 1 {
			_, _ = l.Append(Record{ID: id, End: true})
		}
	}
	f.set("write", nil)
	// An append checks again whether compaction is due.
	add(t, l, Record{ID: 1000, End: true})
	settle(t, l)
	if s := l.Stats(); s.Removed == 0 || s.LiveIDs != 2 || s.DiskBytes > 2*s.LiveBytes+opts.SegmentBytes {
		t.Errorf("compaction did not go on: %+v", s)
	}
	closeLog(t, l)
	_, found := f.opened(t, opts)
	for _, id := range []uint64{1, ids - 1} {
		if len(found[id]) != 1 {
			t.Errorf("ID %d: %d records, want 1", id, len(found[id]))
		}
	}
}

func TestCompactionFreezesOverADamagedSegment(t *testing.T) {
	f := newFaulty(t)
	l, _ := f.opened(t, Options{SegmentBytes: MinSegmentBytes})
	for id := range uint64(30) {
		add(t, l, Record{ID: id, Body: body(500, 'x')})
	}
	if err := l.Commit(t.Context(), l.Stats().End); err != nil {
		t.Fatal(err)
	}
	flip(t, f.Path(segmentName(0)), segmentHeaderSize+recordHeaderSize+100)
	var err error
	// ID 0 stays live in the damaged segment.
	for id := uint64(1); err == nil; id++ {
		_, err = l.Append(Record{ID: id, End: true})
	}
	if damage, ok := errors.AsType[*DamageError](err); !ok || damage.Offset != segmentHeaderSize {
		t.Errorf("append after damage was found: %v", err)
	}
}

func TestCommitEndsWithItsContext(t *testing.T) {
	f := newFaulty(t)
	l, _ := f.opened(t, Options{})
	end := add(t, l, Record{ID: 1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Commit(ctx, end); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v", err)
	}
	if err := l.Commit(t.Context(), end+1); err == nil {
		t.Error("a position behind the end was committed")
	}
}
