package wal

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/linkmesh/link/internal/private"
)

// filePerm is the mode of the files of a log.
const filePerm = private.FileMode

// newDir returns the path of a folder that does not exist yet.
func newDir(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "wal")
}

// newFolder makes a folder and opens it for the test.
func newFolder(tb testing.TB) folder {
	tb.Helper()
	d, err := openDir(newDir(tb))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = d.Close() })
	return d
}

// state holds the records of each ID by position, as a user of the log would keep them.
type state map[uint64]map[Position]string

func (s state) replay(r Record) error {
	if r.End {
		delete(s, r.ID)
		return nil
	}
	if s[r.ID] == nil {
		s[r.ID] = make(map[Position]string)
	}
	if _, ok := s[r.ID][r.Pos]; ok {
		return fmt.Errorf("record %d of ID %d was passed twice", r.Pos, r.ID)
	}
	s[r.ID][r.Pos] = fmt.Sprintf("%d:%s", r.Kind, r.Body)
	return nil
}

// records returns the kinds and bodies of the records of each ID, ordered by position.
func (s state) records() map[uint64][]string {
	all := make(map[uint64][]string)
	for id, records := range s {
		for _, pos := range slices.Sorted(maps.Keys(records)) {
			all[id] = append(all[id], records[pos])
		}
	}
	return all
}

// openLog opens a log, which is closed at the end of the test, and returns what was replayed.
func openLog(tb testing.TB, dir string, opts Options) (*Log, state) {
	tb.Helper()
	s := make(state)
	l, err := Open(dir, opts, s.replay)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l, s
}

func closeLog(tb testing.TB, l *Log) {
	tb.Helper()
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
}

// add appends records and fails the test if that fails.
func add(tb testing.TB, l *Log, records ...Record) Position {
	tb.Helper()
	pos, err := l.Append(records...)
	if err != nil {
		tb.Fatal(err)
	}
	return pos
}

func body(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }
