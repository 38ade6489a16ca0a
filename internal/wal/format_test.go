package wal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata anew")

const goldenFile = "testdata/segment.hex"

// golden holds the records of the golden segment. The first line of goldenFile is the segment's header,
// and each further line is a record.
var golden = []struct {
	record Record
	flags  byte
	origin origin
}{
	{record: Record{Kind: 1, ID: 0x0102030405060708, Body: []byte("hello")}},
	{record: Record{Kind: 255, ID: 1<<64 - 1}},
	{record: Record{Kind: 2, ID: 7, Body: []byte("copied")}, flags: flagCopy, origin: origin{first: 0x18, from: 0x1234}},
	{record: Record{Kind: 3, ID: 7, End: true, Body: []byte("done")}, flags: flagEnd},
	{flags: flagMark},
}

const goldenBase = Position(0xab00000000)

func goldenSegment() (lines []string, all []byte) {
	all = segmentHeader(goldenBase)
	lines = append(lines, hex.EncodeToString(all))
	for _, g := range golden {
		start := len(all)
		all = appendRecord(all, goldenBase+Position(start), g.record, g.flags, g.origin)
		lines = append(lines, hex.EncodeToString(all[start:]))
	}
	return lines, all
}

func TestGoldenSegment(t *testing.T) {
	lines, all := goldenSegment()
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(goldenFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the format has changed (-want +got):\n%s", diff)
	}
	r := reader{file: bytes.NewReader(all), base: goldenBase, size: int64(len(all))}
	if err := r.header(); err != nil {
		t.Fatal(err)
	}
	for i, g := range golden {
		var e entry
		at := goldenBase + Position(r.offset)
		if err := r.next(&e); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		want := g.record
		if want.Pos = at; g.flags&flagCopy != 0 {
			want.Pos = g.origin.first
		}
		if e.flags != g.flags || e.from != g.origin.from || !bytes.Equal(e.Body, want.Body) ||
			e.Kind != want.Kind || e.ID != want.ID || e.End != want.End || e.Pos != want.Pos {
			t.Errorf("record %d: %+v, want %+v", i, e, want)
		}
	}
	if err := r.next(new(entry)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestEveryBitOfASegmentIsChecked(t *testing.T) {
	_, all := goldenSegment()
	for bit := range len(all) * 8 {
		b := bytes.Clone(all)
		b[bit/8] ^= 1 << (bit % 8)
		r := reader{file: bytes.NewReader(b), base: goldenBase, size: int64(len(b))}
		err := r.header()
		for n := 0; err == nil; n++ {
			err = r.next(new(entry))
			if errors.Is(err, io.EOF) {
				t.Fatalf("bit %d of %d can be flipped unseen", bit, len(all)*8)
			}
		}
		if _, ok := errors.AsType[*recordError](err); !ok {
			t.Fatalf("bit %d: %v", bit, err)
		}
	}
}

// goldenReader reads bytes, and keeps in most the size of the largest read.
type goldenReader struct {
	*bytes.Reader
	most int
}

func (r *goldenReader) ReadAt(b []byte, offset int64) (int, error) {
	r.most = max(r.most, len(b))
	return r.Reader.ReadAt(b, offset)
}

func FuzzReader(f *testing.F) {
	_, all := goldenSegment()
	f.Add(all)
	f.Add(all[:len(all)-1])
	f.Add(all[segmentHeaderSize:])
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		// Each input is read with and without a valid header, so that the fuzzer gets to the records.
		for _, b := range [][]byte{b, append(segmentHeader(goldenBase), b...)} {
			in := &goldenReader{Reader: bytes.NewReader(b)}
			r := reader{file: in, base: goldenBase, size: int64(len(b))}
			if r.header() != nil {
				r.offset = 0
			}
			var e entry
			for {
				before := r.offset
				err := r.next(&e)
				if errors.Is(err, io.EOF) {
					break
				}
				if err == nil {
					if r.offset != before+e.size || r.offset > r.size {
						t.Fatalf("a record of %d bytes at %d moves to %d of %d", e.size, before, r.offset, r.size)
					}
					continue
				}
				bad, ok := errors.AsType[*recordError](err)
				if !ok {
					t.Fatal(err)
				}
				if found, err := r.seek(bad.offset); err != nil {
					t.Fatal(err)
				} else if !found {
					break
				} else if r.offset <= before {
					t.Fatalf("seek went back from %d to %d", before, r.offset)
				}
			}
			if in.most > len(b) {
				t.Fatalf("%d bytes asked for of a file of %d", in.most, len(b))
			}
		}
	})
}

// scripted returns a segment of the records that the script describes. They are whole, but may make
// no sense. Each four bytes of the script are a record's flags, ID, length and origin.
func scripted(base Position, script []byte) []byte {
	b := segmentHeader(base)
	for ; len(script) >= 4; script = script[4:] {
		r := Record{ID: uint64(script[1] % 8), Body: body(int(script[2]), 'x')}
		o := origin{first: Position(script[3]), from: Position(script[3]) * 8}
		b = appendRecord(b, base+Position(len(b)), r, script[0]&flagsAll, o)
	}
	return b
}

// FuzzOpen replays a folder of two segments with one byte changed. A log that opens must work, and
// must open again.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{0, 1, 9, 0, 0, 2, 9, 0}, []byte{2, 1, 9, 3, 1, 1, 0, 0}, uint16(0), byte(0), false)
	f.Add([]byte{0, 1, 9, 0, 0, 2, 9, 0, 2, 2, 0, 3}, []byte{2, 3, 9, 255, 4, 0, 0, 0, 0, 2, 9, 0}, uint16(40), byte(1), true)
	f.Add([]byte{}, []byte{0, 1, 200, 0}, uint16(100), byte(128), false)
	f.Fuzz(func(t *testing.T, first, second []byte, where uint16, change byte, salvage bool) {
		dir := newFolder(t).Path("")
		one := scripted(0, first)
		two := scripted(Position(len(one)), second)
		if i := int(where); i < len(one) {
			one[i] ^= change
		} else if i -= len(one); i < len(two) {
			two[i] ^= change
		}
		for at, b := range map[Position][]byte{0: one, Position(len(one)): two} {
			if err := os.WriteFile(filepath.Join(dir, segmentName(at)), b, filePerm); err != nil {
				t.Fatal(err)
			}
		}
		opts := Options{SegmentBytes: MinSegmentBytes, Salvage: salvage}
		l, err := Open(dir, opts, nil)
		if err != nil {
			if _, ok := errors.AsType[*DamageError](err); !ok || salvage {
				t.Fatal(err)
			}
			return
		}
		for id := range uint64(8) {
			add(t, l, Record{ID: id, End: true})
		}
		add(t, l, Record{ID: 9, Body: body(3000, 'x')}, Record{ID: 10})
		add(t, l, Record{ID: 9, Body: body(3000, 'x')}, Record{ID: 9, End: true})
		settle(t, l)
		if s := l.Stats(); s.LiveIDs != 1 || s.LiveBytes < recordSize(0) || s.LiveBytes > recordSize(0)+originSize {
			t.Errorf("one record is live, but %+v", s)
		}
		closeLog(t, l)
		found := make(state)
		if l, err = Open(dir, opts, found.replay); err != nil {
			t.Fatal(err)
		}
		if len(found) != 1 || len(found[10]) != 1 {
			t.Errorf("found %v, want one record of ID 10", found)
		}
		closeLog(t, l)
	})
}
