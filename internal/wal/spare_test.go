package wal

import (
	"errors"
	"runtime"
	"syscall"
	"testing"
)

// small is a disk with a limited number of bytes for the log.
type small struct {
	folder

	size int64
}

func (d small) used() (n int64) {
	names, _ := d.names()
	for _, name := range names {
		if info, err := d.Lstat(name); err == nil {
			n += info.Size()
		}
	}
	return n
}

func (d small) free() (bytes int64, ok bool) { return d.size - d.used(), true }

func (d small) create(name string) (file, error) {
	f, err := d.folder.create(name)
	return &smallFile{f, d}, err
}

func (d small) open(name string) (file, error) {
	f, err := d.folder.open(name)
	return &smallFile{f, d}, err
}

type smallFile struct {
	file

	disk small
}

func (f *smallFile) WriteAt(b []byte, offset int64) (int, error) {
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	if grown := offset + int64(len(b)) - size; grown > 0 && f.disk.used()+grown > f.disk.size {
		return 0, syscall.ENOSPC
	}
	return f.file.WriteAt(b, offset)
}

// TestALogThatFillsItsDiskIsNotStuck checks that, once most records are dead, compaction finds room
// for the live records of the oldest segment.
func TestALogThatFillsItsDiskIsNotStuck(t *testing.T) {
	const segment, longLived = 1 << 20, 4
	disk := small{newFolder(t), 4*segment + segment/2}
	opts, err := Options{SegmentBytes: segment, Reserve: 64 << 10}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s := make(state)
	l, err := open(disk.Path(""), disk, opts, s.replay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	id := uint64(0)
	var live []uint64
	fill := func() {
		for {
			r := Record{Kind: 1, ID: id + 1, Body: body(10_000, 'x')}
			if _, err := l.Append(r); errors.Is(err, ErrNoSpace) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
			// The IDs in live end below. Every fourth ID stays.
			if id++; id%longLived != 0 {
				live = append(live, id)
			}
		}
	}
	for range 3 {
		if fill(); id == 0 {
			t.Fatalf("there is no room from the beginning: %+v", l.Stats())
		}
		for _, id := range live {
			if _, err := l.AppendReserved(Record{Kind: 2, ID: id, End: true}); err != nil {
				t.Fatalf("task %d cannot end: %v; %+v", id, err, l.Stats())
			}
		}
		live = nil
		// If the log is stuck, compaction stays due.
		for due := true; due; {
			runtime.Gosched()
			l.mu.Lock()
			due = l.crowdedLocked()
			l.mu.Unlock()
		}
	}
}
