package balance

import (
	"cmp"
	"slices"

	"github.com/linkmesh/link/internal/hash"
)

// TableSize is the number of places of a lookup table, a prime: the small table of
// the Maglev paper (Eisenbud et al., NSDI 2016). With more instances than places,
// some have none.
const TableSize = 65537

// seatShare bounds how little a weight counts in a lookup table: at least as 1/seatShare
// of the greatest. This bounds the rounds that fill the table, whatever weights a
// registry reports.
const seatShare = 64

// seat is an instance that takes places in a lookup table.
type seat struct {
	key    string
	hash   uint64
	weight uint32
	index  uint32
}

// maglev returns the index of the seat in each place, nil without seats. The seats
// take turns, by weight. In its turn, a seat takes the next free place in an order of its
// own. Thus each seat has places in proportion to its weight, which depend on the keys
// and weights alone, and keeps most of them when others come and go. maglev reorders
// seats.
//
// The race detector is off, because no other goroutine sees what maglev writes, and
// building tables would take most of the time of the tests.
//
//go:norace
func maglev(seats []seat) []uint32 {
	if len(seats) == 0 {
		return nil
	}
	slices.SortFunc(seats, func(a, b seat) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		return cmp.Compare(a.key, b.key)
	})
	type stride struct{ at, step uint32 }
	strides := make([]stride, len(seats))
	top := uint64(0)
	for i, s := range seats {
		top = max(top, uint64(s.weight))
		strides[i] = stride{
			at:   uint32(s.hash % TableSize),
			step: uint32(hash.SplitMix(s.hash+hash.Golden)%(TableSize-1)) + 1,
		}
	}
	table := make([]uint32, TableSize)
	// taken takes 8 KiB and stays in the cache, unlike the table.
	var taken [TableSize/64 + 1]uint64
	// A seat has its n-th turn in the first round in which round × weight reaches
	// n × top, as in Envoy.
	turns := make([]uint64, len(seats))
	least := top / seatShare
	for filled, round := 0, uint64(1); ; round++ {
		for i := range seats {
			if round*max(uint64(seats[i].weight), least, 1) < (turns[i]+1)*top {
				continue
			}
			turns[i]++
			at, step := strides[i].at, strides[i].step
			for taken[at/64]&(1<<(at%64)) != 0 {
				if at += step; at >= TableSize {
					at -= TableSize
				}
			}
			taken[at/64] |= 1 << (at % 64)
			table[at], strides[i].at = seats[i].index, at
			if filled++; filled == TableSize {
				return table
			}
		}
	}
}
