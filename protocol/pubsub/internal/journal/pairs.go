package journal

import (
	"iter"

	"github.com/linkmesh/link/protocol/internal/varint"
)

// Pairs are the headers of a record. They alias its bytes, which were checked when it was read.
// The zero value holds no headers.
type Pairs struct {
	n   int
	raw []byte
}

// Len returns the number of headers.
func (p Pairs) Len() int { return p.n }

// All ranges over names and values in the order in which they were published. The slices
// alias the record.
func (p Pairs) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		b := p.raw
		for range p.n {
			var name, value []byte
			name, b, _ = varint.CutBytes(b)
			value, b, _ = varint.CutBytes(b)
			if !yield(name, value) {
				return
			}
		}
	}
}

// cutPairs reads the number of pairs and the pairs from the start of b.
func cutPairs(b []byte) (p Pairs, rest []byte, problem string) {
	n, b, ok := varint.Cut(b)
	if !ok || n > MaxPairs {
		return Pairs{}, nil, "too many pairs"
	}
	p.n, p.raw = int(n), b
	size := 0
	for range 2 * n {
		var v []byte
		if v, b, ok = varint.CutBytes(b); !ok {
			return Pairs{}, nil, "a pair ends early"
		}
		size += len(v)
	}
	if size > MaxPairBytes {
		return Pairs{}, nil, "too many bytes in pairs"
	}
	p.raw = p.raw[:len(p.raw)-len(b)]
	return p, b, ""
}

// copied returns a copy of the pairs, as they were published.
func (p Pairs) copied() []Pair {
	var list []Pair
	for name, value := range p.All() {
		list = append(list, Pair{string(name), string(value)})
	}
	return list
}
