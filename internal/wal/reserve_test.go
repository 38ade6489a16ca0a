package wal

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// tight is a disk that is full until the reserve is removed.
type tight struct{ *faulty }

func (f tight) remove(name string) error {
	err := f.faulty.remove(name)
	if name == reserveName {
		f.set("write", nil)
	}
	return err
}

func (f tight) reserved() int64 {
	info, err := os.Stat(f.Path(reserveName))
	if err != nil {
		return 0
	}
	return info.Size()
}

// TestTheReserveIsForEndsOnAFullDisk checks that only the ends of records use the reserve, and that
// it is created again when there is room.
func TestTheReserveIsForEndsOnAFullDisk(t *testing.T) {
	const size = 64 << 10
	f := tight{newFaulty(t)}
	opts, err := Options{Reserve: size}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	s := make(state)
	l, err := open(f.Path(""), f, opts, s.replay)
	if err != nil {
		t.Fatal(err)
	}
	if f.reserved() != size {
		t.Fatalf("the reserve has %d bytes, want %d", f.reserved(), size)
	}
	add(t, l, Record{Kind: 1, ID: 1, Body: []byte("task")})
	f.set("write", syscall.ENOSPC)
	if _, err := l.Append(Record{Kind: 1, ID: 2}); !errors.Is(err, ErrNoSpace) || f.reserved() != size {
		t.Errorf("an append on a full disk: %v; the reserve has %d bytes", err, f.reserved())
	}
	// There is no room yet to create the reserve again.
	f.set("create", syscall.ENOSPC)
	if _, err := l.AppendReserved(Record{Kind: 2, ID: 1, End: true}); err != nil || f.reserved() != 0 {
		t.Errorf("an end on a full disk: %v; the reserve has %d bytes", err, f.reserved())
	}
	f.set("write", syscall.ENOSPC)
	if _, err := l.AppendReserved(Record{Kind: 2, ID: 1, End: true}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("an end on a full disk without the reserve: %v", err)
	}
	f.set("write", nil)
	f.set("create", nil)
	// Some appends, but not all, try to create the reserve again.
	for n := uint64(3); f.reserved() != size; n++ {
		add(t, l, Record{Kind: 1, ID: n})
		runtime.Gosched()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, got := f.opened(t, Options{Reserve: size})
	if _, ok := got[1]; ok {
		t.Error("the record that was ended on a full disk is back")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// TestALogWithoutRoomForTheReserveIsOpened checks that its records are replayed, and that no part of
// a reserve is left.
func TestALogWithoutRoomForTheReserveIsOpened(t *testing.T) {
	f := newFaulty(t)
	l, _ := f.opened(t, Options{})
	add(t, l, Record{Kind: 1, ID: 1, Body: []byte("task")})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f.set("write", syscall.ENOSPC)
	_, got := f.opened(t, Options{Reserve: 64 << 10})
	if _, ok := got[1]; !ok {
		t.Errorf("found %v", got)
	}
	if (tight{f}).reserved() != 0 {
		t.Error("half a reserve was left")
	}
}

// crammed is a disk that reports its free space, and counts how often it is asked for that and how
// often the reserve is created.
type crammed struct {
	*faulty

	// room is the free space in bytes. A negative value means unknown.
	room atomic.Int64
}

func (f *crammed) free() (bytes int64, ok bool) {
	_ = f.check("free")
	room := f.room.Load()
	return room, room >= 0
}

func (f *crammed) create(name string) (file, error) {
	if name == reserveName {
		if err := f.check("reserve"); err != nil {
			return nil, err
		}
	}
	return f.faulty.create(name)
}

// TestTheReserveLeavesRoomForOthers checks that a log that is short of space does not write the
// reserve, but reads the free space at growing intervals. If the free space is unknown, the log tries
// to write the reserve at growing intervals.
func TestTheReserveLeavesRoomForOthers(t *testing.T) {
	const size, minutes = 64 << 10, 10
	for _, tt := range []struct {
		name string
		room int64
		full error
		// want is how often the reserve is written in that time.
		want int
	}{
		{name: "there is room", room: 2*size + spareLeast, want: 1},
		{name: "a byte is missing", room: 2*size + spareLeast - 1, want: 0},
		{name: "nobody knows, and there is none", room: -1, full: syscall.ENOSPC, want: 1 + 6 + minutes - 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &crammed{faulty: newFaulty(t)}
			f.room.Store(tt.room)
			synctest.Test(t, func(t *testing.T) {
				opts, err := Options{Reserve: size}.withDefaults()
				if err != nil {
					t.Fatal(err)
				}
				f.set("reserve", tt.full)
				l, err := open(f.Path(""), f, opts, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer closeLog(t, l)
				asked := f.count("free")
				for range minutes * 60 {
					if _, err := l.AppendReserved(Record{Kind: 1, ID: 1, End: true}); err != nil {
						t.Fatal(err)
					}
					<-time.After(time.Second)
				}
				if n := f.count("reserve"); n > tt.want || n < tt.want-2 {
					t.Errorf("the reserve was written %d times, want about %d", n, tt.want)
				}
				if n := f.count("free") - asked; n > minutes+7 {
					t.Errorf("the disk was asked %d times in %d minutes", n, minutes)
				}
			})
		})
	}
}
