package epoch_test

import (
	"testing"

	"github.com/linkmesh/link/protocol/internal/epoch"
)

func TestAllBitsOfEpochsAreRandom(t *testing.T) {
	var ones, zeros uint64
	seen := make(map[uint64]bool)
	// A bit is the same in all draws, or two draws are equal, with a probability below 2⁻⁵⁰.
	for range 64 {
		e := epoch.New()
		if seen[e] {
			t.Fatalf("%#x was drawn twice", e)
		}
		seen[e] = true
		ones |= e
		zeros |= ^e
	}
	if ones&zeros != ^uint64(0) {
		t.Errorf("some bits never change: %#x", ^(ones & zeros))
	}
}
