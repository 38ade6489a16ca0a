package link

import (
	"slices"

	"github.com/linkmesh/link/internal/wire"
)

// Metadata is a set of text pairs that travels beside a message. It has at most
// 64 pairs and 8 KiB of keys and values; keys that start with "link-" are
// reserved. The zero value is empty.
type Metadata struct {
	// pairs is sorted by wire.ComparePairs.
	pairs []wire.Pair
}

// Get returns the value of key, or "".
func (m Metadata) Get(key string) string {
	if i, ok := m.find(key); ok {
		return m.pairs[i].Value
	}
	return ""
}

// Len returns the number of pairs.
func (m Metadata) Len() int { return len(m.pairs) }

// All ranges over the pairs in a fixed order.
func (m Metadata) All() func(yield func(key, value string) bool) {
	return func(yield func(key, value string) bool) {
		for _, p := range m.pairs {
			if !yield(p.Key, p.Value) {
				return
			}
		}
	}
}

func (m Metadata) find(key string) (int, bool) {
	return slices.BinarySearchFunc(m.pairs, key, func(p wire.Pair, k string) int {
		return wire.ComparePairs(p, wire.Pair{Key: k})
	})
}

// with returns m with a pair replaced or added; m must not be used afterwards.
func (m Metadata) with(key, value string) Metadata {
	if n := len(m.pairs); n == 0 || wire.ComparePairs(m.pairs[n-1], wire.Pair{Key: key}) < 0 {
		m.pairs = append(m.pairs, wire.Pair{Key: key, Value: value})
		return m
	}
	i, ok := m.find(key)
	if !ok {
		m.pairs = append(m.pairs, wire.Pair{})
		copy(m.pairs[i+1:], m.pairs[i:])
	}
	m.pairs[i] = wire.Pair{Key: key, Value: value}
	return m
}

func (m Metadata) validate() error {
	for _, p := range m.pairs {
		if p.Key == "" || len(p.Key) >= 5 && p.Key[:5] == "link-" {
			return Errorf(InvalidArgument, "metadata key %q is empty or reserved", p.Key)
		}
	}
	if err := wire.CheckPairs("metadata", m.pairs, wire.MaxPairs, wire.MaxPairBytes); err != nil {
		return Errorf(InvalidArgument, "%w", err)
	}
	return nil
}

// lookup is Metadata in the form that the topology reads.
type lookup Metadata

// Get returns the value of a key.
func (l *lookup) Get(key string) (string, bool) {
	m := Metadata(*l)
	i, ok := m.find(key)
	if !ok {
		return "", false
	}
	return m.pairs[i].Value, true
}
