// Package spell finds the names that somebody may have meant who wrote another.
package spell

import (
	"slices"
	"strconv"
	"strings"
)

// Bounds of one search.
const (
	MaxNames    = 4096 // how many of the names given are looked at
	MaxProposed = 3    // names that are proposed
	maxLen      = 256  // bytes of a word or name beyond which it is like no other
	maxDistance = 3
)

// Nearest returns the names that are like word, the most like first, at most MaxProposed: those with
// the fewest letters changed, added, left out or swapped with their neighbor (the optimal string
// alignment distance), at most a third of its length and at most three. Case counts for nothing.
// It returns nil if word is among the names.
func Nearest(word string, names []string) []string {
	type found struct {
		name     string
		distance int
	}
	if len(word) == 0 || len(word) > maxLen {
		return nil
	}
	most := min((len(word)+2)/3, maxDistance)
	lower := strings.ToLower(word)
	var like []found
	for _, name := range names[:min(len(names), MaxNames)] {
		if name == word {
			return nil
		}
		if d := distance(lower, strings.ToLower(name), most); d <= most {
			like = append(like, found{name, d})
		}
	}
	slices.SortFunc(like, func(a, b found) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	var out []string
	for _, f := range like[:min(len(like), MaxProposed)] {
		out = append(out, f.name)
	}
	return out
}

// Proposal says the nearest names as the end of an error: `; the nearest name there is "orders"`. It
// is "" if there is none. Names are quoted, so that they may come from anywhere.
func Proposal(word string, names []string) string { return Proposed(Nearest(word, names)) }

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

// distance is the optimal string alignment distance of a and b, or most+1 if it is more than most.
// It fills in only the diagonals that can matter.
func distance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most || len(b) > maxLen+maxDistance {
		return most + 1
	}
	far := most + 1
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = min(j, far)
	}
	for i := 1; i <= len(a); i++ {
		for j := range row {
			row[j] = far
		}
		if i <= most {
			row[0] = i
		}
		least := row[0]
		for j := max(1, i-most); j <= min(len(b), i+most); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(last[j-1]+cost, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, before[j-2]+1)
			}
			row[j] = min(d, far)
			least = min(least, row[j])
		}
		if least > most {
			return far
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
