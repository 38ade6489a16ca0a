package spell

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	names := []string{"orders", "order-archive", "users", "billing", "mailer", "a", "Payments"}
	for _, c := range []struct {
		word string
		want []string
	}{
		{"ordrs", []string{"orders"}},
		{"order", []string{"orders"}},
		{"ORDERS", []string{"orders"}},
		{"oders", []string{"orders", "users"}},
		{"biling", []string{"billing"}},
		{"mialer", []string{"mailer"}},
		{"payments", []string{"Payments"}},
		// A word that is one of the names needs no proposal.
		{"orders", nil},
		{"warehouse", nil},
		{"", nil},
		{"b", []string{"a"}},
		{strings.Repeat("x", 1000), nil},
	} {
		if got := Nearest(c.word, slices.Values(names)); !slices.Equal(got, c.want) {
			t.Errorf("%.20q: got %q, want %q", c.word, got, c.want)
		}
	}
	if got := Nearest("x1", slices.Values([]string{"x5", "x3", "x4", "x2"})); !slices.Equal(got, []string{"x2", "x3", "x4"}) {
		t.Errorf("of many: %q", got)
	}
}

func TestProposalQuotesWhatItNames(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, ""},
		{[]string{"orders"}, `; the nearest name there is "orders"`},
		{[]string{"order\x1b", "orders", "order1"}, `; the nearest names there are "order\x1b", "order1" and "orders"`},
	} {
		if got := Proposal("order", slices.Values(c.names)); got != c.want {
			t.Errorf("of %q: %s, want %s", c.names, got, c.want)
		}
	}
}

// TestNamesThatAreAllLikeTheWordCostLittle checks that the names compared and the allocations are bounded, whatever the
// names are.
func TestNamesThatAreAllLikeTheWordCostLittle(t *testing.T) {
	names := make([]string, 0, 2*MaxNames)
	for i := range cap(names) {
		names = append(names, fmt.Sprintf("%s%04d", strings.Repeat("x", maxLen-4), i))
	}
	word := strings.Repeat("x", maxLen-4) + "12a4"
	s := newSearch(word)
	for _, name := range names {
		s.look(name)
	}
	if s.looked != MaxNames || s.compared != MaxCompared {
		t.Errorf("%d names were looked at and %d compared, want %d and %d", s.looked, s.compared, MaxNames, MaxCompared)
	}
	values := slices.Values(names)
	if n := testing.AllocsPerRun(10, func() { Nearest(word, values) }); n > 4 {
		t.Errorf("%v allocations, want at most 4, however many names there are", n)
	}
}

// FuzzDistance compares distance with whole, which fills in the whole table.
func FuzzDistance(f *testing.F) {
	f.Add("orders", "ordrse")
	f.Add("", "abc")
	f.Add("abcd", "badc")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a) > 64 || len(b) > 64 {
			return
		}
		want := whole(a, b)
		for most := range 6 {
			if d := bits.OnesCount64(lettersOf(a) ^ lettersOf(b)); want <= most && d > 2*most {
				t.Errorf("%q and %q, whose distance is %d, differ in %d letters", a, b, want, d)
			}
			if got := distance(a, b, most); got != min(want, most+1) {
				t.Errorf("%q and %q up to %d: %d, want %d", a, b, most, got, min(want, most+1))
			}
		}
	})
}

func whole(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if lower(a[i-1]) == lower(b[j-1]) {
				cost = 0
			}
			d[i][j] = min(d[i-1][j-1]+cost, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && lower(a[i-1]) == lower(b[j-2]) && lower(a[i-2]) == lower(b[j-1]) {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
