package wal

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"testing"
)

// tight is a disk that is full until the reserve is given back.
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

// TestTheReserveIsForEndsOnAFullDisk and comes back when there is room.
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
	f.set("create", syscall.ENOSPC) // there is no room for it yet
	if _, err := l.AppendReserved(Record{Kind: 2, ID: 1, End: true}); err != nil || f.reserved() != 0 {
		t.Errorf("an end on a full disk: %v; the reserve has %d bytes", err, f.reserved())
	}
	f.set("write", syscall.ENOSPC)
	if _, err := l.AppendReserved(Record{Kind: 2, ID: 1, End: true}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("an end on a full disk without the reserve: %v", err)
	}
	f.set("write", nil)
	f.set("create", nil)
	for n := uint64(3); f.reserved() != size; n++ { // it is tried again with appends, but not with each
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

// TestALogWithoutRoomForTheReserveIsOpened: what it holds can be read.
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
