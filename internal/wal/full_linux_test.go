package wal

import (
	"bytes"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/linkmesh/link/internal/smalldisk"
)

// TestALogOnADiskThatIsReallyFull checks that a log on a full disk refuses appends with ErrNoSpace,
// and accepts them again once its records have ended, even if all of them are in one segment, or
// once another program has freed space. No committed record may be lost meanwhile.
func TestALogOnADiskThatIsReallyFull(t *testing.T) {
	const size = 4 << 20
	smalldisk.Run(t, size, func(t *testing.T, disk smalldisk.Disk) {
		t.Helper()
		dir := filepath.Join(disk.Dir, "wal")
		opts := Options{Reserve: 64 << 10}
		l, _ := openLog(t, dir, opts)
		live := make(map[uint64][]byte)
		id := uint64(0)
		put := func() bool {
			b := body(10_000+int(id%100), byte(id))
			end, err := l.Append(Record{Kind: 1, ID: id + 1, Body: b})
			if errors.Is(err, ErrNoSpace) {
				return false
			}
			if err == nil {
				err = l.Commit(t.Context(), end)
			}
			if err != nil {
				t.Fatal(err)
			}
			id++
			live[id] = b
			return true
		}
		fill := func() {
			for len(live)*10_000 < 2*size {
				if !put() {
					return
				}
			}
			t.Fatalf("%d records of 10 kB found room on %d bytes", len(live), size)
		}
		until := func(what string, done func() bool) {
			for tries := 0; !done(); tries++ {
				if runtime.Gosched(); tries > 5_000_000 {
					t.Fatalf("there is no room for %s: %+v", what, l.Stats())
				}
			}
		}
		// end ends all IDs but every eighth.
		end := func() {
			var ended []uint64
			for n := range live {
				if n%8 != 0 {
					ended = append(ended, n)
					delete(live, n)
				}
			}
			// An end that finds no room makes compaction free some, and is tried again.
			until("the ends of records", func() bool {
				ended = slices.DeleteFunc(ended, func(n uint64) bool {
					_, err := l.AppendReserved(Record{Kind: 2, ID: n, End: true})
					if err != nil && !errors.Is(err, ErrNoSpace) {
						t.Fatal(err)
					}
					return err == nil
				})
				return len(ended) == 0
			})
		}
		reopen := func() {
			closeLog(t, l)
			var found state
			if l, found = openLog(t, dir, opts); len(found) != len(live) {
				t.Errorf("%d IDs are found, want %d", len(found), len(live))
			}
			for n, b := range live {
				for _, got := range found[n] {
					if want := "1:" + string(b); !bytes.Equal([]byte(got), []byte(want)) {
						t.Errorf("ID %d is not as it was written", n)
					}
				}
			}
		}
		for range 3 {
			fill()
			reopen()
			end()
			until("a record", put)
			reopen()
		}
		fill()
		free := disk.Fill(t)
		if !disk.FilesOnly && put() {
			t.Error("there was room on a full disk")
		}
		end()
		reopen()
		free()
		until("a record", put)
		reopen()
		t.Logf("%d records, %+v", id, l.Stats())
	})
}
