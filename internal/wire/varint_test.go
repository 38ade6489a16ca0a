package wire_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/linkmesh/link/internal/wire"
)

// TestVarintReadsTheVectorsOfRFC9000 uses the sample encodings of RFC 9000, section A.1.
func TestVarintReadsTheVectorsOfRFC9000(t *testing.T) {
	for _, tc := range []struct {
		hex      string
		want     uint64
		shortest bool
	}{
		{"c2197c5eff14e88c", 151_288_809_941_952_652, true},
		{"9d7f3e7d", 494_878_333, true},
		{"7bbd", 15_293, true},
		{"25", 37, true},
		{"4025", 37, false},
	} {
		in := unhex(t, tc.hex)
		v, n, err := wire.ParseVarint(append(bytes.Clone(in), 0xff))
		if v != tc.want || n != len(in) || err != nil {
			t.Errorf("ParseVarint(%s) = %d, %d, %v; want %d, %d, nil", tc.hex, v, n, err, tc.want, len(in))
		}
		if got := wire.AppendVarint(nil, tc.want); bytes.Equal(got, in) != tc.shortest {
			t.Errorf("AppendVarint(%d) = %x; equal to %s should be %t", tc.want, got, tc.hex, tc.shortest)
		}
	}
}

func TestVarintTakesTheShortestForm(t *testing.T) {
	for _, tc := range []struct {
		v    uint64
		size int
	}{
		{0, 1},
		{1<<6 - 1, 1},
		{1 << 6, 2},
		{1<<14 - 1, 2},
		{1 << 14, 4},
		{1<<30 - 1, 4},
		{1 << 30, 8},
		{wire.MaxVarint, 8},
	} {
		b := wire.AppendVarint([]byte{0xee}, tc.v)
		if len(b) != 1+tc.size || b[0] != 0xee {
			t.Errorf("AppendVarint(ee, %d) = %x, want %d more bytes", tc.v, b, tc.size)
		}
		v, n, err := wire.ParseVarint(b[1:])
		if v != tc.v || n != tc.size || err != nil {
			t.Errorf("ParseVarint(%x) = %d, %d, %v", b[1:], v, n, err)
		}
	}
}

func TestVarintThatEndsEarlyIsShort(t *testing.T) {
	for _, v := range []uint64{0, 1 << 6, 1 << 14, 1 << 30, wire.MaxVarint} {
		whole := wire.AppendVarint(nil, v)
		for n := range whole {
			if _, _, err := wire.ParseVarint(whole[:n]); !errors.Is(err, wire.ErrShort) {
				t.Errorf("ParseVarint(%x) error is %v, want ErrShort", whole[:n], err)
			}
		}
	}
}

func TestVarintOutOfRangePanics(t *testing.T) {
	for _, v := range []uint64{wire.MaxVarint + 1, math.MaxUint64} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("AppendVarint(%d) did not panic", v)
				}
			}()
			wire.AppendVarint(nil, v)
		}()
	}
}
