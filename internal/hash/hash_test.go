package hash_test

import (
	"hash/fnv"
	"io"
	"math/bits"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/linkmesh/link/internal/hash"
)

func TestFNV1aIsThatOfTheStandardLibrary(t *testing.T) {
	for _, s := range []string{"", "a", "foobar", "orders\x00get", strings.Repeat("long", 1000)} {
		h := fnv.New64a()
		_, _ = io.WriteString(h, s) // never fails (hash.Hash)
		if got, want := hash.FNV1a(s), h.Sum64(); got != want {
			t.Errorf("FNV1a(%.10q) is %#x, want %#x", s, got, want)
		}
	}
}

// TestTheFinalizersKeepTheirResults holds the first outputs of SplitMix64 with the seed 0 and two values of fmix64, as
// the reference implementations print them.
func TestTheFinalizersKeepTheirResults(t *testing.T) {
	state := uint64(0)
	for i, want := range []uint64{0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, 0x06c45d188009454f} {
		state += hash.Golden
		if got := hash.SplitMix(state); got != want {
			t.Errorf("output %d of SplitMix64 is %#x, want %#x", i, got, want)
		}
	}
	for in, want := range map[uint64]uint64{0: 0, 1: 0xb456bcfc34c2cb2c} {
		if got := hash.Murmur(in); got != want {
			t.Errorf("fmix64(%d) is %#x, want %#x", in, got, want)
		}
	}
}

func TestEachBitChangesHalfOfTheOthers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, mix := range map[string]func(uint64) uint64{"SplitMix": hash.SplitMix, "Murmur": hash.Murmur} {
		const samples = 2000
		for bit := range 64 {
			changed := 0
			for range samples {
				x := r.Uint64()
				changed += bits.OnesCount64(mix(x) ^ mix(x^1<<bit))
			}
			if mean := float64(changed) / samples; mean < 31 || mean > 33 {
				t.Errorf("%s: bit %d changes %.1f bits on average, want about 32", name, bit, mean)
			}
		}
	}
}
