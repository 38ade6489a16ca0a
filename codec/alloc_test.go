package codec_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/linkmesh/link/codec"
	"github.com/linkmesh/link/internal/codecvalues"
)

// record takes about 120 bytes of memory. An empty map, which is one byte, is
// decoded into one.
type record struct {
	A, B, C, D string
	E          []byte
	F          map[string]string
	G          []record
}

type bomb struct {
	name        string
	in          []byte
	destination func() any
	refused     bool
}

const bombSize = 128 << 10

func array(n int, element byte) []byte {
	head := binary.BigEndian.AppendUint32([]byte{0x9a}, uint32(n))
	return append(head, bytes.Repeat([]byte{element}, n)...)
}

func bombs() []bomb {
	records := func() any { return new([]record) }
	untyped := func() any { return new(any) }
	bignum := append([]byte{0xc2, 0x5a, 0, 0, 0x40, 0}, bytes.Repeat([]byte{0xff}, 16384)...)
	return []bomb{
		{"128 K empty maps into records", array(bombSize, 0xa0), records, true},
		{"16384 empty maps into records", array(16384, 0xa0), records, false},
		{"128 K empty arrays into any", array(bombSize, 0x80), untyped, false},
		{"16384 empty arrays into any", array(16384, 0x80), untyped, false},
		{"128 K empty maps into any", array(bombSize, 0xa0), untyped, true},
		{"16384 empty maps into any", array(16384, 0xa0), untyped, false},
		{"header claims 131071 elements", []byte{0x9a, 0, 1, 0xff, 0xff}, records, true},
		{"header claims 16384 elements", []byte{0x99, 0x40, 0}, records, true},
		{"header claims 64 MiB of bytes", []byte{0x5b, 0, 0, 0, 0, 4, 0, 0, 0}, func() any { return new([]byte) }, true},
		{"header claims 4096 pairs", []byte{0xb9, 0x10, 0}, untyped, true},
		{"128 K levels", bytes.Repeat([]byte{0x81}, bombSize), untyped, true},
		{"bignum of 16 KiB", bignum, untyped, true},
		{"text of 128 KiB", append([]byte{0x7a, 0, 2, 0, 0}, bytes.Repeat([]byte{'x'}, bombSize)...), untyped, false},
	}
}

func TestBombsAllocateLessThan8MiB(t *testing.T) {
	const most = 8 << 20
	c := codec.CBOR()
	for _, b := range bombs() {
		t.Run(b.name, func(t *testing.T) {
			v := b.destination()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := c.Decode(b.in, v)
			runtime.ReadMemStats(&after)
			if (err != nil) != b.refused {
				t.Errorf("Decode: %v, want refused %v", err, b.refused)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got >= most {
				t.Errorf("Decode of %d bytes allocated %d bytes, want < %d", len(b.in), got, most)
			}
		})
	}
}

func TestAppendOfASmallStructDoesNotAllocate(t *testing.T) {
	c := codec.CBOR()
	v := &codecvalues.Small{ID: "o-1", Customer: "c-1", Amount: 1200, Paid: true}
	dst := make([]byte, 0, 256)
	got := testing.AllocsPerRun(1000, func() {
		if _, err := c.Append(dst, v); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Fatalf("Append allocates %v times, want 0", got)
	}
}

func TestDecodeOfASmallStructAllocatesOnlyItsStrings(t *testing.T) {
	c := codec.CBOR()
	in, err := c.Append(nil, &codecvalues.Small{ID: "o-1", Customer: "c-1", Amount: 1200, Paid: true})
	if err != nil {
		t.Fatal(err)
	}
	const stringFields = 2
	var v codecvalues.Small
	got := testing.AllocsPerRun(1000, func() {
		if err := c.Decode(in, &v); err != nil {
			t.Fatal(err)
		}
	})
	if got != stringFields {
		t.Fatalf("Decode allocates %v times, want %d: one per string", got, stringFields)
	}
}

func BenchmarkAppend(b *testing.B) {
	c := codec.CBOR()
	v := &codecvalues.Small{ID: "o-1", Customer: "c-1", Amount: 1200, Paid: true}
	dst := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Append(dst, v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	c := codec.CBOR()
	in, err := c.Append(nil, &codecvalues.Small{ID: "o-1", Customer: "c-1", Amount: 1200, Paid: true})
	if err != nil {
		b.Fatal(err)
	}
	var v codecvalues.Small
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Decode(in, &v); err != nil {
			b.Fatal(err)
		}
	}
}
