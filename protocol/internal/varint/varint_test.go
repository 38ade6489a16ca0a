package varint_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/linkmesh/link/protocol/internal/varint"
)

// TestExamplesOfTheRFC checks the examples of RFC 9000, appendix A.1.
func TestExamplesOfTheRFC(t *testing.T) {
	for text, want := range map[string]uint64{
		"c2197c5eff14e88c": 151_288_809_941_952_652, "9d7f3e7d": 494_878_333, "7bbd": 15_293, "25": 37, "4025": 37,
	} {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		v, rest, ok := varint.Cut(b)
		if v != want || len(rest) != 0 || !ok {
			t.Errorf("%s is %d, %x, %v, want %d", text, v, rest, ok, want)
		}
		if got := varint.AppendAs(nil, want, len(b)); !bytes.Equal(got, b) {
			t.Errorf("%d in %d bytes is %x", want, len(b), got)
		}
	}
}

func TestBoundsOfLengths(t *testing.T) {
	for v, n := range map[uint64]int{0: 1, 63: 1, 64: 2, 1<<14 - 1: 2, 1 << 14: 4, 1<<30 - 1: 4, 1 << 30: 8, varint.Max: 8} {
		b := varint.Append(nil, v)
		if got, _, ok := varint.Cut(b); len(b) != n || varint.Len(v) != n || got != v || !ok {
			t.Errorf("%d takes %d bytes, want %d, and is read as %d", v, len(b), n, got)
		}
		for cut := range b {
			if _, _, ok := varint.Cut(b[:cut]); ok {
				t.Errorf("%d is read from %d of its %d bytes", v, cut, len(b))
			}
		}
	}
	if got, _, _ := varint.Cut(varint.Append(nil, 1<<63)); got != varint.Max {
		t.Errorf("what is too large becomes %d", got)
	}
}

func FuzzCut(f *testing.F) {
	f.Add([]byte{0x41, 0x02, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, rest, ok := varint.Cut(b); ok {
			if again, _, _ := varint.Cut(varint.AppendAs(nil, v, len(b)-len(rest))); again != v {
				t.Errorf("%d becomes %d", v, again)
			}
		}
		if v, rest, ok := varint.CutBytes(b); ok && len(v)+len(rest) >= len(b) {
			t.Errorf("%x has %x and %x in it", b, v, rest)
		}
	})
}
