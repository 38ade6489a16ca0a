package balance

import (
	"sync/atomic"

	"github.com/linkmesh/link/internal/hash"
)

const (
	// MaxTurns bounds how many turns one pick passes over. Weighted turns that are all
	// in the lightest weight are at most about 2.7/[MinShare] apart.
	MaxTurns = 256

	// MinShare is the least fraction of the greatest weight that round robin
	// distinguishes; a lighter instance gets that much.
	MinShare = 1.0 / 64
)

// turn is the static stride scheduler of gRPC: a sequence number identifies an index
// and a generation. The fraction of generations in which an index has a turn is its
// weight divided by the greatest weight. It differs from gRPC's in that the
// generations that an index sits out are spread by the golden ratio, so that the
// turns of one generation are spread evenly over the indexes. Each number is used
// once, so that over any sequence of turns each instance gets its share to within a
// turn or two. The turns of an instance that is out or was tried are passed over; if
// MaxTurns turns find no instance, choose decides by load.
func (v *view[T]) turn(slots vector[slot], sequence *atomic.Uint64, t *terms, r uint64) int {
	if slots.n == 0 {
		return -1
	}
	turns := MaxTurns
	if v.uniform {
		turns = min(turns, slots.n)
	}
	d := draws{state: r}
	for range turns {
		k := sequence.Add(1)
		generation, i := k/uint64(slots.n), int(k%uint64(slots.n))
		s := slots.at(i)
		if !v.uniform && !due(generation, i, 1/(s.perWeight*v.topWeight)) || !t.fit(s.load) {
			continue
		}
		if share := t.share(s.load); share == 1 || float64(d.random()) < share*(1<<32) {
			return i
		}
	}
	return choose(slots, t, r)
}

// due reports whether an index has a turn in a generation: whether the multiples of
// its share, which start at a phase of its own, cross a whole number there.
func due(generation uint64, i int, share float64) bool {
	const whole = 1 << 32
	step := uint64(max(share, MinShare)*whole + 0.5)
	phase := uint32(generation*step + uint64(i)*(hash.Golden>>32))
	return uint64(phase)+step >= whole
}
