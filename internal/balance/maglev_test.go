package balance

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func seats(keys ...string) []seat {
	out := make([]seat, len(keys))
	for i, key := range keys {
		out[i] = seat{key: key, hash: hashOf(key), weight: 1, index: uint32(i)}
	}
	return out
}

func keysUpTo(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("10.0.%d.%d:9000", i/250, i%250)
	}
	return out
}

// owners returns the key that owns each place of the table.
func owners(all []seat) []string {
	byIndex := make(map[uint32]string)
	for _, s := range all {
		byIndex[s.index] = s.key
	}
	out := make([]string, 0, TableSize)
	for _, i := range maglev(all) {
		out = append(out, byIndex[i])
	}
	return out
}

func TestATableMovesFewKeys(t *testing.T) {
	for _, n := range []int{3, 10, 100} {
		keys := keysUpTo(n + 1)
		before := owners(seats(keys[:n]...))
		changes := map[string][]string{
			"one joins":           keys,
			"the first leaves":    keys[1:n],
			"one in the middle":   append(append([]string{}, keys[:n/2]...), keys[n/2+1:n]...),
			"the last leaves":     keys[:n-1],
			"one takes its place": append(append([]string{}, keys[:n-1]...), keys[n]),
		}
		for name, keys := range changes {
			moved := 0
			for i, owner := range owners(seats(keys...)) {
				if owner != before[i] {
					moved++
				}
			}
			bound := 1/float64(n) + 0.02
			if name == "one takes its place" {
				// One instance leaves and another one joins.
				bound *= 2
			}
			if got := float64(moved) / TableSize; got > bound {
				t.Errorf("of %d, %s: %.4f of the keys move, want at most %.4f", n, name, got, bound)
			}
		}
	}
}

func TestATableDependsOnKeysAndWeightsAlone(t *testing.T) {
	all := seats(keysUpTo(50)...)
	for i := range all {
		all[i].weight = uint32(1 + i%3)
	}
	want := owners(all)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for i := range all {
		all[i].index = uint32(i)
	}
	for i, owner := range owners(all) {
		if owner != want[i] {
			t.Fatalf("place %d is of %s, in another order of %s", i, owner, want[i])
		}
	}
	// Other processes, and other versions, must agree on the places.
	places := owners(seats("a", "b", "c"))
	if got := strings.Join(places[:12], ""); got != "ccbaacccbbbb" {
		t.Fatalf("the first places of a, b and c: %s", got)
	}
	weighted := seats("a", "b", "c")
	weighted[0].weight, weighted[1].weight = 7, 3
	if got := hashOf(strings.Join(owners(weighted), "")); got != 0xfdcabcd282bd1fb7 {
		t.Fatalf("the places of a, b and c of weight 7, 3 and 1: hash %#x", got)
	}
}

func TestPlacesGoByWeight(t *testing.T) {
	for _, n := range []int{1, 3, 10, 1000} {
		all := seats(keysUpTo(n)...)
		sum := 0
		for i := range all {
			all[i].weight = uint32(1 + i%3)
			sum += 1 + i%3
		}
		got := make(map[string]int)
		for _, owner := range owners(all) {
			got[owner]++
		}
		for _, s := range all {
			fair := float64(TableSize) * float64(s.weight) / float64(sum)
			if c := float64(got[s.key]); c < fair-3 || c > fair+3 {
				t.Errorf("of %d, %s of weight %d has %v places, want %.1f", n, s.key, s.weight, c, fair)
			}
		}
	}
}

func TestMoreInstancesThanPlaces(t *testing.T) {
	table := maglev(seats(keysUpTo(TableSize + 100)...))
	if len(table) != TableSize {
		t.Fatalf("%d places", len(table))
	}
	if maglev(nil) != nil {
		t.Fatal("places of nobody")
	}
}
