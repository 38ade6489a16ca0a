// Package spell finds the names that somebody may have meant who wrote another.
package spell

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Bounds of one search. The names may be a stranger's choice, and as like the word as it wants.
const (
	MaxNames    = 4096 // how many of the names given are looked at
	MaxCompared = 256  // how many are compared letter by letter: those of a like length, with like letters
	MaxProposed = 3    // names that are proposed
	maxLen      = 256  // bytes of a word or name beyond which it is like no other
	maxDistance = 3
)

// Nearest returns the names that are like word, the most like first, at most MaxProposed: those with
// the fewest letters changed, added, left out or swapped with their neighbor (the optimal string
// alignment distance), at most a third of its length and at most three. Case counts for nothing in
// ASCII. It returns nil if word is among the names.
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

// search is one search for the names that are like a word.
type search struct {
	word    string
	letters uint64
	most    int // the largest distance of a name that is like it

	looked   int
	compared int
	there    bool // the word is one of the names

	best [MaxProposed]found
	held int
}

type found struct {
	name     string
	distance int
}

func newSearch(word string) *search {
	s := &search{word: word, letters: lettersOf(word), most: min((len(word)+2)/3, maxDistance)}
	if len(word) == 0 || len(word) > maxLen {
		s.looked = MaxNames // it is like nothing
	}
	return s
}

// look takes in a name, and reports whether there is any use in another one.
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

// keep takes in a name that is like the word, in the place of one that is less so.
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

// lettersOf is the set of the letters of a word, a few of which share a place. To change one changes two places at
// most, and to add one or leave one out a single one.
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

// Proposal says the nearest names as the end of an error: `; the nearest name there is "orders"`. It
// is "" if there is none. Names are quoted, so that they may come from anywhere.
func Proposal(word string, names iter.Seq[string]) string { return Proposed(Nearest(word, names)) }

// Proposed says names that were found already, as [Proposal] does.
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

// far says by their lengths alone that the distance of a and b is more than most.
func far(a, b string, most int) bool {
	return len(a)-len(b) > most || len(b)-len(a) > most || len(b) > maxLen+maxDistance
}

// distance is the optimal string alignment distance of a and b, or most+1 if it is more than most.
// It fills in only the diagonals that can matter, and allocates nothing.
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
