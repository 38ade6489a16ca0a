// Package spell finds the names that a misspelled word may have meant.
package spell

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Bounds of one search. They are needed because an attacker may choose the names, and make all of them
// similar to the word.
const (
	// MaxNames is the maximum number of names that are considered.
	MaxNames = 4096
	// MaxCompared is the maximum number of names whose distance is computed. Names whose length or
	// letters differ too much from the word's do not count.
	MaxCompared = 256
	// MaxProposed is the maximum number of results.
	MaxProposed = 3
	// maxLen is the length in bytes above which a word has no similar names.
	maxLen      = 256
	maxDistance = 3
)

// Nearest returns at most MaxProposed names that are similar to word, the most similar first. It counts
// the letters that are changed, inserted, deleted or swapped with their neighbor (the optimal string
// alignment distance). A name is similar if the distance is at most a third of the length of word,
// rounded up, and at most three. ASCII case is ignored. Nearest returns nil if word is among the names.
func Nearest(word string, names iter.Seq[string]) []string {
	s := newSearch(word)
	for name := range names {
		if !s.look(name) {
			break
		}
	}
	if s.there || s.held == 0 {
		return nil
	}
	out := make([]string, 0, MaxProposed)
	for _, f := range s.best[:s.held] {
		out = append(out, f.name)
	}
	return out
}

// search is one search for the names that are similar to a word.
type search struct {
	word    string
	letters uint64

	// most is the largest distance of a similar name.
	most int

	looked   int
	compared int

	// there reports that the word is one of the names.
	there bool

	// best holds the results so far, sorted; held is their number.
	best [MaxProposed]found
	held int
}

type found struct {
	name     string
	distance int
}

func newSearch(word string) *search {
	s := &search{word: word, letters: lettersOf(word), most: min((len(word)+2)/3, maxDistance)}
	// No name is similar to such a word, so the search looks at none.
	if len(word) == 0 || len(word) > maxLen {
		s.looked = MaxNames
	}
	return s
}

// look considers a name, and reports whether the search should go on.
func (s *search) look(name string) bool {
	if s.looked == MaxNames {
		return false
	}
	s.looked++
	if name == s.word {
		s.there = true
		return false
	}
	if s.compared == MaxCompared || far(s.word, name, s.most) || bits.OnesCount64(s.letters^lettersOf(name)) > 2*s.most {
		return true
	}
	s.compared++
	if d := distance(s.word, name, s.most); d <= s.most {
		s.keep(found{name, d})
	}
	return true
}

// keep inserts a name into best, and drops the least similar one if there are too many.
func (s *search) keep(f found) {
	at, _ := slices.BinarySearchFunc(s.best[:s.held], f, func(a, b found) int {
		return cmp.Or(a.distance-b.distance, strings.Compare(a.name, b.name))
	})
	if at == MaxProposed {
		return
	}
	s.held = min(s.held+1, MaxProposed)
	copy(s.best[at+1:s.held], s.best[at:])
	s.best[at] = f
}

// lettersOf returns the letters of a word as a bit set, in which some letters share a bit. To change one letter
// changes at most two bits, and to insert or delete one changes at most one bit.
func lettersOf(word string) (set uint64) {
	for i := range len(word) {
		set |= 1 << (lower(word[i]) & 63)
	}
	return set
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// Proposal returns the nearest names as the end of an error: `; the nearest name there is "orders"`. It
// returns "" if there are none. Names are quoted, so they may be untrusted.
func Proposal(word string, names iter.Seq[string]) string { return Proposed(Nearest(word, names)) }

// Proposed is like [Proposal], for names that were found before.
func Proposed(like []string) string {
	like = slices.Clone(like)
	switch len(like) {
	case 0:
		return ""
	case 1:
		return "; the nearest name there is " + strconv.Quote(like[0])
	}
	for i, name := range like {
		like[i] = strconv.Quote(name)
	}
	return "; the nearest names there are " + strings.Join(like[:len(like)-1], ", ") + " and " + like[len(like)-1]
}

// far reports whether the lengths of a and b alone show that their distance is more than most, or whether b is too long.
func far(a, b string, most int) bool {
	return len(a)-len(b) > most || len(b)-len(a) > most || len(b) > maxLen+maxDistance
}

// distance returns the optimal string alignment distance of a and b, or most+1 if it is more than
// most. It computes only the diagonals that can matter, and allocates nothing.
func distance(a, b string, most int) int {
	beyond := most + 1
	if far(a, b, most) {
		return beyond
	}
	var rows [3][maxLen + maxDistance + 1]uint8
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = uint8(min(j, beyond))
	}
	for i := 1; i <= len(a); i++ {
		for j := range len(b) + 1 {
			row[j] = uint8(beyond)
		}
		if i <= most {
			row[0] = uint8(i)
		}
		least := int(row[0])
		for j := max(1, i-most); j <= min(len(b), i+most); j++ {
			cost := 1
			if lower(a[i-1]) == lower(b[j-1]) {
				cost = 0
			}
			d := min(int(last[j-1])+cost, int(last[j])+1, int(row[j-1])+1, beyond)
			if i > 1 && j > 1 && lower(a[i-1]) == lower(b[j-2]) && lower(a[i-2]) == lower(b[j-1]) {
				d = min(d, int(before[j-2])+1)
			}
			row[j] = uint8(d)
			least = min(least, d)
		}
		if least > most {
			return beyond
		}
		before, last, row = last, row, before
	}
	return int(last[len(b)])
}
