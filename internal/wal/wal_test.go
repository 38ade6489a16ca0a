package wal

import (
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatWasCommittedIsReplayed(t *testing.T) {
	dir := newDir(t)
	l, found := openLog(t, dir, Options{})
	if len(found) != 0 {
		t.Fatalf("a new log has %v", found)
	}
	add(t, l, Record{Kind: 1, ID: 1, Body: []byte("one")}, Record{Kind: 1, ID: 2, Body: []byte("two")})
	add(t, l, Record{Kind: 2, ID: 1, Body: []byte("again")})
	end := add(t, l, Record{Kind: 3, ID: 2, End: true})
	if err := l.Commit(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	if l.Durable() < end {
		t.Fatalf("durable to %d after a commit of %d", l.Durable(), end)
	}
	closeLog(t, l)

	closed := l.Stats().End
	l, found = openLog(t, dir, Options{})
	want := map[uint64][]string{1: {"1:one", "2:again"}}
	if diff := cmp.Diff(want, found.records()); diff != "" {
		t.Errorf("replayed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Recovery{Segments: 1, Records: 4, Live: 1, End: closed}, l.Recovery()); diff != "" {
		t.Errorf("recovery (-want +got):\n%s", diff)
	}
	s := l.Stats()
	if want := recordSize(3) + recordSize(5); s.LiveBytes != want || s.LiveIDs != 1 {
		t.Errorf("live: %d bytes, %d IDs; want %d, 1", s.LiveBytes, s.LiveIDs, want)
	}
}

func TestCompactionKeepsTheLiveAndTheBound(t *testing.T) {
	const segment = 16 << 10
	dir := newDir(t)
	l, _ := openLog(t, dir, Options{SegmentBytes: segment})
	want := make(map[uint64][]string)
	for id := range uint64(3000) {
		add(t, l, Record{Kind: 1, ID: id, Body: body(100, byte('a'+id%26))})
		// Every 50th ID stays live, with records in more than one segment.
		if id%50 == 0 {
			want[id] = append(want[id], "1:"+string(body(100, byte('a'+id%26))))
			if id >= 1000 {
				old := id - 1000
				add(t, l, Record{Kind: 2, ID: old, Body: []byte("later")})
				want[old] = append(want[old], "2:later")
			}
			continue
		}
		add(t, l, Record{Kind: 3, ID: id, End: true})
	}
	if err := l.Commit(t.Context(), l.Stats().End); err != nil {
		t.Fatal(err)
	}
	settle(t, l)
	s := l.Stats()
	if s.Removed == 0 || s.Copies == 0 {
		t.Fatalf("nothing was compacted: %+v", s)
	}
	if limit := 2*s.LiveBytes + segment; s.DiskBytes > limit {
		t.Errorf("%d bytes on disk, want at most %d", s.DiskBytes, limit)
	}
	closeLog(t, l)
	l, found := openLog(t, dir, Options{SegmentBytes: segment})
	if diff := cmp.Diff(want, found.records()); diff != "" {
		t.Errorf("replayed (-want +got):\n%s", diff)
	}
	if got := l.Stats(); got.LiveBytes != s.LiveBytes || got.LiveIDs != s.LiveIDs {
		t.Errorf("live after replay: %+v, before: %+v", got, s)
	}
}

func TestASegmentThatIsDeadBeforeItIsSyncedGoes(t *testing.T) {
	l, _ := openLog(t, newDir(t), Options{SegmentBytes: MinSegmentBytes})
	// The appends are faster than any sync: the first segment is sealed and dead, and no append follows.
	add(t, l, Record{ID: 1, Body: body(3000, 'x')}, Record{ID: 1, End: true})
	add(t, l, Record{ID: 2, Body: body(3000, 'x')}, Record{ID: 2, End: true})
	settle(t, l)
	if s := l.Stats(); s.Segments != 1 || s.Removed != 1 {
		t.Errorf("the dead segment stays: %+v", s)
	}
}

// settle waits until compaction has nothing to do.
func settle(tb testing.TB, l *Log) {
	tb.Helper()
	for {
		l.mu.Lock()
		busy := l.crowdedLocked() || l.sealing != nil
		l.mu.Unlock()
		if !busy {
			return
		}
		runtime.Gosched()
		if err := l.Commit(tb.Context(), l.Stats().End); err != nil {
			tb.Fatal(err)
		}
	}
}
