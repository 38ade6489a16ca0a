package wire

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// Pair is an entry of metadata or of a trace context.
type Pair struct{ Key, Value string }

// ComparePairs orders pairs as deterministic CBOR orders their keys: shorter
// keys first, keys of equal length bytewise.
func ComparePairs(a, b Pair) int {
	if c := cmp.Compare(len(a.Key), len(b.Key)); c != 0 {
		return c
	}
	return strings.Compare(a.Key, b.Key)
}

// CheckPairs returns an error if pairs has more entries or bytes than the wire
// allows, is not valid UTF-8, or is not strictly ascending by [ComparePairs].
// Parsers accept all pairs that CheckPairs accepts.
func CheckPairs(what string, pairs []Pair, maxPairs, maxBytes int) error {
	if len(pairs) > maxPairs {
		return &LimitError{What: what + " entries", Limit: uint64(maxPairs), Got: uint64(len(pairs))}
	}
	size := 0
	for i, p := range pairs {
		size += len(p.Key) + len(p.Value)
		if !utf8.ValidString(p.Key) || !utf8.ValidString(p.Value) {
			return &SyntaxError{What: what, Reason: fmt.Sprintf("key or value of %q is not valid UTF-8", p.Key)}
		}
		if i > 0 && ComparePairs(pairs[i-1], p) >= 0 {
			return &SyntaxError{What: what, Reason: "key " + p.Key + " twice or out of order"}
		}
	}
	if size > maxBytes {
		return &LimitError{What: what + " bytes", Limit: uint64(maxBytes), Got: uint64(size)}
	}
	return nil
}

func appendPairs(b []byte, pairs []Pair) []byte {
	b = appendHead(b, majorMap, uint64(len(pairs)))
	for _, p := range pairs {
		b = appendText(appendText(b, p.Key), p.Value)
	}
	return b
}

// PairsView is a parsed map of text to text. It aliases the input of the parser
// that made it; the zero value is empty.
type PairsView struct {
	// raw holds the validated entries, encoded.
	raw   []byte
	count int
}

// Len returns the number of entries.
func (v PairsView) Len() int { return v.count }

// Raw returns the encoded entries without the head of the map.
func (v PairsView) Raw() []byte { return v.raw }

// All returns an iterator over the entries. Keys and values alias the input.
func (v PairsView) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		r := reader{b: v.raw}
		for range v.count {
			key := r.text(MaxPairBytes)
			if !yield(key, r.text(MaxPairBytes)) {
				return
			}
		}
	}
}

// AppendTo appends copies of the entries to dst. All strings share one
// allocation.
func (v PairsView) AppendTo(dst []Pair) []Pair {
	if v.count == 0 {
		return dst
	}
	all, r := string(v.raw), reader{b: v.raw}
	take := func() string {
		s := r.text(MaxPairBytes)
		end := len(v.raw) - len(r.b)
		return all[end-len(s) : end]
	}
	if dst == nil {
		dst = make([]Pair, 0, v.count)
	}
	for range v.count {
		key := take()
		dst = append(dst, Pair{Key: key, Value: take()})
	}
	return dst
}

func (r *reader) pairs(maxPairs, maxBytes int) PairsView {
	n := r.mapping(maxPairs)
	start, size := r.b, 0
	var last []byte
	for i := 0; i < n && r.err == nil; i++ {
		key := r.text(maxBytes)
		value := r.text(maxBytes)
		if size += len(key) + len(value); r.err == nil && size > maxBytes {
			r.limit("map bytes", uint64(maxBytes), uint64(size))
		}
		if i > 0 && (len(key) < len(last) || len(key) == len(last) && bytes.Compare(last, key) >= 0) {
			r.fail("keys twice or out of order")
		}
		last = key
	}
	if r.err != nil {
		return PairsView{}
	}
	return PairsView{raw: start[:len(start)-len(r.b)], count: n}
}
