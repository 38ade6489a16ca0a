package subject_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		name, subject string
		// problem is what is wrong with the subject as a name, and pattern what is wrong with it
		// as a pattern. Empty means that it is valid.
		problem string
		pattern string
	}{
		{"one token", "orders", "", ""},
		{"several tokens", "orders.eu.placed", "", ""},
		{"UTF-8", "bestellungen.größe.注文", "", ""},
		{"reserved word later", "orders._link", "", ""},
		{"reserved word as a prefix", "_linked.x", "", ""},
		{"longest", strings.Repeat("x", subject.MaxBytes), "", ""},
		{"most tokens", strings.Repeat("x.", subject.MaxTokens-1) + "x", "", ""},
		{"empty", "", "is empty", "is empty"},
		{"too long", strings.Repeat("x", subject.MaxBytes+1), "has 256 bytes, at most 255", "has 256 bytes, at most 255"},
		{"too many tokens", strings.Repeat("x.", subject.MaxTokens) + "x", "has 33 tokens, at most 32", "has 33 tokens, at most 32"},
		{"empty token", "a..b", "token 2 is empty", "token 2 is empty"},
		{"dot at the start", ".a", "token 1 is empty", "token 1 is empty"},
		{"dot at the end", "a.", "token 2 is empty", "token 2 is empty"},
		{"space", "a.b c", "space or control character at byte 3", "space or control character at byte 3"},
		{"no-break space", "a\u00a0", "space or control", "space or control"},
		{"line separator", "a\u2028", "space or control", "space or control"},
		{"control character", "a\x00b", "space or control character at byte 1", "space or control character at byte 1"},
		{"not UTF-8", "a\xff", "is not UTF-8", "is not UTF-8"},
		{"one wildcard", "a.*.b", "token 2 has a wildcard", ""},
		{"rest wildcard", "a.>", "token 2 has a wildcard", ""},
		{"only wildcards", "*.>", "token 1 has a wildcard", ""},
		{"wildcard inside a token", "a.b*", "token 2 has a wildcard", "token 2 mixes a wildcard"},
		{"rest wildcard twice", "a.>>", "token 2 has a wildcard", "token 2 mixes a wildcard"},
		{"rest wildcard before the end", ">.a", "token 1 has a wildcard", "only allowed as the last token"},
		{"reserved", "_link", "token _link is reserved", "token _link is reserved"},
		{"reserved with more", "_link.dlq.x", "token _link is reserved", "token _link is reserved"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, "Valid", subject.Valid(tt.subject), tt.problem)
			expect(t, "ValidPattern", subject.ValidPattern(tt.subject), tt.pattern)
		})
	}
}

func expect(t *testing.T, what string, err error, problem string) {
	t.Helper()
	if problem == "" {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), problem) {
		t.Fatalf("%s: %v, want %q in it", what, err, problem)
	}
	if e, ok := errors.AsType[*subject.Error](err); !ok || len(e.Subject) > subject.MaxBytes {
		t.Errorf("%s: %#v is not a *subject.Error with a bounded subject", what, err)
	}
	if got, want := errors.Is(err, subject.ErrReserved), strings.Contains(problem, "reserved"); got != want {
		t.Errorf("%s: is ErrReserved = %v, want %v", what, got, want)
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "A", false},
		{"a", "a.b", false},
		{"a.b", "a", false},
		{"*", "a", true},
		{"*", "a.b", false},
		{"a.*", "a", false},
		{"a.*.c", "a.b.c", true},
		{"a.*.c", "a.b.d", false},
		{">", "a", true},
		{">", "a.b.c", true},
		{"a.>", "a", false},
		{"a.>", "a.b", true},
		{"a.>", "a.b.c", true},
		{"*.>", "a", false},
		{"*.>", "a.b", true},
		{">", "_link.dlq.x", false},
		{"*.dlq.x", "_link.dlq.x", false},
		{"_link.>", "_link.dlq.x", true},
		{"a.*", "a._link", true},
	} {
		if got := subject.Match(tt.pattern, tt.name); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.pattern, tt.name, got)
		}
	}
}

func TestCovers(t *testing.T) {
	ones := func(n int, last string) string { return strings.Repeat("*.", n-1) + last }
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"a", "a", true},
		{"a", "*", false},
		{"*", "a", true},
		{"*", "*", true},
		{"*", ">", false},
		{">", "*", true},
		{">", ">", true},
		{">", "a.*.>", true},
		{"*.>", ">", false},
		{"a.>", "a", false},
		{"a.>", "a.*", true},
		{"a.>", "*.b", false},
		{"*.*", "a.>", false},
		{"orders.eu.>", "orders.>", false},
		{">", "_link.>", false},
		{"*.x", "_link.x", false},
		{"_link.>", "_link.dlq.*", true},
		// Without room for a second token, the two wildcards match the same names.
		{ones(subject.MaxTokens, "*"), ones(subject.MaxTokens, ">"), true},
		{ones(subject.MaxTokens-1, "*"), ones(subject.MaxTokens-1, ">"), false},
		{strings.Repeat("x", subject.MaxBytes-2) + ".*", strings.Repeat("x", subject.MaxBytes-2) + ".>", true},
		{strings.Repeat("x", subject.MaxBytes-3) + ".*", strings.Repeat("x", subject.MaxBytes-3) + ".>", true},
		{strings.Repeat("x", subject.MaxBytes-4) + ".*", strings.Repeat("x", subject.MaxBytes-4) + ".>", false},
	} {
		if got := subject.Covers(tt.a, tt.b); got != tt.want {
			t.Errorf("Covers(%q, %q) = %v", tt.a, tt.b, got)
		}
	}
}

// TestCoversIsExactForAllShortPatterns compares Covers with its definition. Names have
// one token more than patterns, for ">", and one letter more, for "*".
func TestCoversIsExactForAllShortPatterns(t *testing.T) {
	patterns := words([]string{"a", "b", "_link", "*", ">"}, 3, func(s string) bool {
		err := subject.ValidPattern(s)
		return err == nil || errors.Is(err, subject.ErrReserved)
	})
	names := words([]string{"a", "b", "c", "_link"}, 4, func(string) bool { return true })
	matches := make(map[string][]bool, len(patterns))
	for _, p := range patterns {
		for _, n := range names {
			matches[p] = append(matches[p], subject.Match(p, n))
		}
	}
	if len(patterns) < 80 {
		t.Fatalf("only %d patterns", len(patterns))
	}
	for _, a := range patterns {
		for _, b := range patterns {
			want := true
			for i := range names {
				want = want && (matches[a][i] || !matches[b][i])
			}
			if got := subject.Covers(a, b); got != want {
				t.Errorf("Covers(%q, %q) = %v", a, b, got)
			}
		}
	}
}

// words returns all sequences of one to n tokens for which keep returns true.
func words(tokens []string, n int, keep func(string) bool) []string {
	var all []string
	last := []string{""}
	for range n {
		var longer []string
		for _, w := range last {
			for _, token := range tokens {
				longer = append(longer, strings.TrimPrefix(w+"."+token, "."))
			}
		}
		last = longer
		for _, w := range longer {
			if keep(w) {
				all = append(all, w)
			}
		}
	}
	return all
}

// oracle is Match by definition, token by token.
func oracle(pattern, name []string, first bool) bool {
	if len(pattern) == 0 || len(name) == 0 {
		return len(pattern) == len(name)
	}
	wild := !first || name[0] != subject.Reserved
	switch pattern[0] {
	case ">":
		return wild && len(pattern) == 1
	case "*":
		return wild && oracle(pattern[1:], name[1:], false)
	default:
		return pattern[0] == name[0] && oracle(pattern[1:], name[1:], false)
	}
}

func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{{"a.*.c", "a.b.c"}, {">", "a"}, {"a.>", "a.b.c"}, {"*.>", "a"}, {"_link.>", "_link.x"}, {">", "_link.x"}, {"a", "a.b"}, {"*", "a\xff"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if err := subject.Valid(name); err != nil && !errors.Is(err, subject.ErrReserved) {
			return
		}
		perr := subject.ValidPattern(pattern)
		if perr != nil && !errors.Is(perr, subject.ErrReserved) {
			return
		}
		want := oracle(strings.Split(pattern, "."), strings.Split(name, "."), true)
		if got := subject.Match(pattern, name); got != want {
			t.Errorf("Match(%q, %q) = %v", pattern, name, got)
		}
		if want && !subject.Covers(pattern, name) {
			t.Errorf("Covers(%q, %q) = false, and the one matches the other", pattern, name)
		}
		var index subject.Index[int]
		index.Add(pattern, 1)
		found := 0
		index.Match(name, func(v int) { found += v })
		if (found == 1) != want {
			t.Errorf("Index with %q finds %q %d times", pattern, name, found)
		}
		if !index.Remove(pattern, 1) || index.Len() != 0 {
			t.Errorf("Index does not give %q back", pattern)
		}
	})
}

func TestMeets(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"placed", "placed", true},
		{"placed.eu", "placed", true},
		{"placed.*.42", "placed", true},
		{"placed.>", "placed", true},
		{">", "placed", true},
		{"*", "placed", true},
		{"*", "placed.eu", false},
		{"placed", "placed.eu", false},
		{"*.eu", "placed", true},
		{"*.eu", "placed.us", false},
		{"plcaed", "placed", false},
		{"plcaed.>", "placed", false},
		{">", "_link.own.placed", false},
		{"_link.own.>", "_link.own.placed", true},
	} {
		if got := subject.Meets(c.pattern, c.name); got != c.want {
			t.Errorf("%s and %s: %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}
