package wal

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestInvalidOptions(t *testing.T) {
	for _, opts := range []Options{
		{SegmentBytes: MinSegmentBytes - 1},
		{SegmentBytes: MaxSegmentBytes + 1},
		{GroupCommit: -1},
	} {
		if _, err := Open(newDir(t), opts, nil); !errors.Is(err, ErrInvalidOptions) {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

func TestGroupCommitIsTheLongestThatARecordWaits(t *testing.T) {
	dir := newDir(t)
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(dir, Options{GroupCommit: time.Second}, nil)
		if err != nil {
			t.Fatal(err)
		}
		end := add(t, l, Record{ID: 1})
		<-time.After(time.Second - 1)
		synctest.Wait()
		if l.Durable() >= end {
			t.Error("durable before its time, and nobody asked")
		}
		<-time.After(1)
		synctest.Wait()
		if l.Durable() < end {
			t.Error("not durable after GroupCommit")
		}
		begun := time.Now()
		end = add(t, l, Record{ID: 2})
		if err := l.Commit(t.Context(), end); err != nil || time.Since(begun) != 0 {
			t.Errorf("a commit was delayed by %v: %v", time.Since(begun), err)
		}
		closeLog(t, l)
	})
}

func TestRequestCommitIsReportedByOnDurable(t *testing.T) {
	durable := make(chan Position, 16)
	l, _ := openLog(t, newDir(t), Options{GroupCommit: time.Hour, OnDurable: func(pos Position, err error) {
		if err != nil {
			t.Error(err)
		}
		durable <- pos
	}})
	end := add(t, l, Record{ID: 1}, Record{ID: 2})
	l.RequestCommit(end)
	if got := <-durable; got != end {
		t.Errorf("durable to %d, want %d", got, end)
	}
	// The position is durable already, so this requests nothing.
	l.RequestCommit(end)
	closeLog(t, l)
}

func TestSyncEachReturnsWhatIsDurable(t *testing.T) {
	f := newFaulty(t)
	l, _ := f.opened(t, Options{SyncEach: true, GroupCommit: time.Hour})
	for id := range uint64(10) {
		if end := add(t, l, Record{ID: id}); l.Durable() < end {
			t.Fatalf("append of %d returned before it was durable to %d", id, end)
		}
	}
	f.set("sync", errors.New("gone"))
	if _, err := l.Append(Record{ID: 11}); err == nil {
		t.Error("append returned nil over a failed sync")
	}
}

func TestRecordsOfAllSizes(t *testing.T) {
	const segment = 2 << 20
	dir := newDir(t)
	l, _ := openLog(t, dir, Options{SegmentBytes: segment})
	most := segment - segmentHeaderSize - recordHeaderSize
	sizes := []int{0, 1, readAhead - recordHeaderSize, readAhead, 3 * readAhead, most}
	for id, n := range sizes {
		add(t, l, Record{ID: uint64(id), Body: body(n, 'x')})
	}
	if _, err := l.Append(Record{Body: body(most+1, 'x')}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("append of more than a segment: %v", err)
	}
	if end, err := l.Append(); err != nil || end != l.Stats().End {
		t.Errorf("append of nothing: %d, %v", end, err)
	}
	closeLog(t, l)
	seen := 0
	l, err := Open(dir, Options{SegmentBytes: segment}, func(r Record) error {
		if !bytes.Equal(r.Body, body(sizes[r.ID], 'x')) {
			t.Errorf("ID %d has %d bytes, want %d", r.ID, len(r.Body), sizes[r.ID])
		}
		seen++
		return nil
	})
	if err != nil || seen != len(sizes) {
		t.Fatalf("%d records found, %v", seen, err)
	}
	closeLog(t, l)
	stop := errors.New("stop")
	if _, err := Open(dir, Options{}, func(Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("open with a replay that fails: %v", err)
	}
}
