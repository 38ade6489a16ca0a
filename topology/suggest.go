package topology

import (
	"slices"
	"strconv"
	"strings"

	"github.com/linkmesh/link/internal/policy/errtext"
)

// maxListed is the number of names that an error lists at most.
const maxListed = 8

// meant returns the end of an error about an unknown word: a suggestion, `; did you mean "canary"?`,
// or else the known words, "; there are canary and stable".
func meant(word string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	known = slices.Sorted(slices.Values(known))
	best, least := "", max(2, len(word)/3)+1
	for _, k := range known {
		if d := distance(word, k); d < least && d < len(k) {
			best, least = k, d
		}
	}
	if best != "" {
		return `; did you mean ` + strconv.Quote(best) + "?"
	}
	if len(known) > maxListed {
		return "; there are " + strings.Join(known[:maxListed], ", ") + " and " + strconv.Itoa(len(known)-maxListed) + " more"
	}
	if len(known) == 1 {
		return "; there is only " + known[0]
	}
	return "; there are " + errtext.List(known, "and")
}

// distance returns the Levenshtein distance of a and b in bytes. If one is longer than maxCompared and
// they differ, it returns the length of the longer one.
func distance(a, b string) int {
	const maxCompared = 64
	if len(a) > maxCompared || len(b) > maxCompared {
		if a == b {
			return 0
		}
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
