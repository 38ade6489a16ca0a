package wal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// flip inverts one bit of a file.
func flip(tb testing.TB, path string, offset int64) {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	b[offset] ^= 0x10
	if err := os.WriteFile(path, b, filePerm); err != nil {
		tb.Fatal(err)
	}
}

// written makes a log of three segments, and returns the paths of the segments and the number of
// records. The log ends without a mark, as after a crash.
func written(tb testing.TB) (dir string, paths []string, records int) {
	tb.Helper()
	dir = newDir(tb)
	l, _ := openLog(tb, dir, Options{SegmentBytes: MinSegmentBytes})
	for len(paths) < 3 || l.Stats().End-l.segments[2].base < 2000 {
		add(tb, l, Record{Kind: 1, ID: uint64(records), Body: body(300, 'x')})
		records++
		if err := l.Commit(tb.Context(), l.Stats().End); err != nil {
			tb.Fatal(err)
		}
		paths, _ = filepath.Glob(filepath.Join(dir, "*.wal"))
	}
	closeLog(tb, l)
	// Cut off the mark.
	cut(tb, paths[2], recordHeaderSize)
	return dir, paths, records
}

// cut removes n bytes from the end of a file.
func cut(tb testing.TB, path string, n int64) {
	tb.Helper()
	info, err := os.Stat(path)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-n); err != nil {
		tb.Fatal(err)
	}
}

func size(tb testing.TB, path string) int64 {
	tb.Helper()
	info, err := os.Stat(path)
	if err != nil {
		tb.Fatal(err)
	}
	return info.Size()
}

func TestAnUnfinishedEndIsCutOff(t *testing.T) {
	record := recordSize(300)
	for _, tt := range []struct {
		name    string
		crash   func(tb testing.TB, path string)
		lost    int
		removed int64
	}{
		{name: "nothing is missing", crash: func(testing.TB, string) {}},
		{name: "one byte is missing", crash: func(tb testing.TB, path string) { tb.Helper(); cut(tb, path, 1) }, lost: 1, removed: record - 1},
		{name: "the body is missing", crash: func(tb testing.TB, path string) { tb.Helper(); cut(tb, path, 300) }, lost: 1, removed: recordHeaderSize},
		{name: "half a header is there", crash: func(tb testing.TB, path string) { tb.Helper(); cut(tb, path, 312) }, lost: 1, removed: 12},
		{name: "the end is zeros", crash: func(tb testing.TB, path string) { tb.Helper(); extend(tb, path, make([]byte, 9000)) }, removed: 9000},
		{name: "the end is old bytes", crash: func(tb testing.TB, path string) {
			tb.Helper()
			b, _ := os.ReadFile(path)
			// These are whole records, but of another position.
			extend(tb, path, b[segmentHeaderSize:])
		}, removed: -1},
		{name: "a body of zeros", crash: func(tb testing.TB, path string) {
			tb.Helper()
			cut(tb, path, 300)
			extend(tb, path, make([]byte, 300))
		}, lost: 1, removed: record},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, paths, records := written(t)
			tt.crash(t, paths[2])
			if tt.removed < 0 {
				tt.removed = size(t, paths[2]) / 2
				tt.removed -= segmentHeaderSize / 2
			}
			l, found := openLog(t, dir, Options{SegmentBytes: MinSegmentBytes})
			if got := l.Recovery(); got.Truncated != tt.removed || (got.Truncated > 0) != (got.TruncatedFile == paths[2]) {
				t.Errorf("truncated %d bytes of %q, want %d", got.Truncated, got.TruncatedFile, tt.removed)
			}
			if len(found) != records-tt.lost {
				t.Errorf("%d records found, want %d", len(found), records-tt.lost)
			}
			add(t, l, Record{Kind: 1, ID: 1000, Body: []byte("on")})
			closeLog(t, l)
			l, found = openLog(t, dir, Options{SegmentBytes: MinSegmentBytes})
			if len(found) != records-tt.lost+1 || l.Recovery().Truncated != 0 {
				t.Errorf("after one more record: %d found, %+v", len(found), l.Recovery())
			}
		})
	}
}

func extend(tb testing.TB, path string, b []byte) {
	tb.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		tb.Fatal(err)
	}
}

func TestDamageIsRefusedAndSalvageKeepsTheRest(t *testing.T) {
	record := recordSize(300)
	last := func(tb testing.TB, path string) int64 { tb.Helper(); return size(tb, path) - record }
	for _, tt := range []struct {
		name   string
		damage func(tb testing.TB, paths []string) (file string, offset int64)
		reason string
		// lost is how many IDs salvage does not find.
		lost int
		// gaps is how many regions salvage skips besides the damaged one.
		gaps int
	}{
		{
			name: "bit of a body in an old segment", reason: "body", lost: 1,
			damage: func(tb testing.TB, paths []string) (string, int64) {
				tb.Helper()
				flip(tb, paths[0], segmentHeaderSize+record+100)
				return paths[0], segmentHeaderSize + record
			},
		},
		{
			name: "bit of a length in an old segment", reason: "header", lost: 1,
			damage: func(tb testing.TB, paths []string) (string, int64) {
				tb.Helper()
				flip(tb, paths[1], segmentHeaderSize+8)
				return paths[1], segmentHeaderSize
			},
		},
		{
			name: "end of an old segment", reason: "the file ends within a record", lost: 1, gaps: 1,
			damage: func(tb testing.TB, paths []string) (string, int64) {
				tb.Helper()
				offset := last(tb, paths[0])
				cut(tb, paths[0], 1)
				return paths[0], offset
			},
		},
		{
			name: "whole record gone from the end of an old segment", reason: "does not begin where", lost: 1,
			damage: func(tb testing.TB, paths []string) (string, int64) {
				tb.Helper()
				cut(tb, paths[0], record)
				return paths[1], 0
			},
		},
		{
			name: "record before the last one of the last segment", reason: "body", lost: 1,
			damage: func(tb testing.TB, paths []string) (string, int64) {
				tb.Helper()
				offset := last(tb, paths[2]) - record
				flip(tb, paths[2], offset+recordHeaderSize)
				return paths[2], offset
			},
		},
		{
			name: "header of a segment", reason: "checksum of the segment's header", lost: 0,
			damage: func(tb testing.TB, paths []string) (string, int64) {
				tb.Helper()
				flip(tb, paths[2], 9)
				return paths[2], 0
			},
		},
		{
			name: "another version", reason: "not a segment", lost: 0,
			damage: func(tb testing.TB, paths []string) (string, int64) {
				tb.Helper()
				flip(tb, paths[0], 7)
				return paths[0], 0
			},
		},
		{
			name: "missing segment", reason: "does not begin where", lost: 12,
			damage: func(tb testing.TB, paths []string) (string, int64) {
				tb.Helper()
				if err := os.Remove(paths[1]); err != nil {
					tb.Fatal(err)
				}
				return paths[2], 0
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, paths, records := written(t)
			file, offset := tt.damage(t, paths)
			before, err := os.ReadFile(paths[2])
			if err != nil {
				t.Fatal(err)
			}
			_, err = Open(dir, Options{SegmentBytes: MinSegmentBytes}, nil)
			damage, ok := errors.AsType[*DamageError](err)
			if !ok || damage.File != file || damage.Offset != offset || !strings.Contains(damage.Reason, tt.reason) {
				t.Fatalf("open: %v\nwant %s in %s at %d", err, tt.reason, file, offset)
			}
			if damage.Expected == damage.Actual {
				t.Errorf("expected and actual are the same: %v", err)
			}
			if after, err := os.ReadFile(paths[2]); err != nil || string(after) != string(before) {
				t.Errorf("a refused log was changed, %v", err)
			}
			l, found := openLog(t, dir, Options{SegmentBytes: MinSegmentBytes, Salvage: true})
			if len(found) != records-tt.lost || l.Recovery().Regions != 1+tt.gaps {
				t.Errorf("salvaged %d of %d, want %d lost: %+v", len(found), records, tt.lost, l.Recovery())
			}
			// Compaction must get past the damage once all IDs have ended.
			for id := range uint64(records) {
				add(t, l, Record{ID: id, End: true})
			}
			settle(t, l)
			closeLog(t, l)
			if _, found = openLog(t, dir, Options{SegmentBytes: MinSegmentBytes}); len(found) != 0 {
				t.Errorf("%d IDs found after all have ended", len(found))
			}
		})
	}
}

func TestAfterCloseDamageToTheLastRecordIsToldApart(t *testing.T) {
	dir := newDir(t)
	l, _ := openLog(t, dir, Options{})
	add(t, l, Record{ID: 1, Body: body(100, 'x')})
	closeLog(t, l)
	l, _ = openLog(t, dir, Options{})
	// The log ends with a mark already, so this writes no second one.
	closeLog(t, l)
	path := filepath.Join(dir, segmentName(0))
	if got, want := size(t, path), segmentHeaderSize+recordSize(100)+recordHeaderSize; got != want {
		t.Errorf("the file has %d bytes, want %d", got, want)
	}
	flip(t, path, segmentHeaderSize+recordHeaderSize+5)
	_, err := Open(dir, Options{}, nil)
	if damage, ok := errors.AsType[*DamageError](err); !ok || damage.Offset != segmentHeaderSize {
		t.Errorf("open: %v", err)
	}
}
