package foreign_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/linkmesh/link/internal/foreign"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":              "",
		"no such order": "no such order",
		`C:\orders "q"`: `C:\orders "q"`,
		"größer, 日本語, \u00a0 ☃ 👩\u200d👩": "größer, 日本語, \u00a0 ☃ 👩\u200d👩",
		"a\nlevel=ERROR msg=\"forged\"":  `a\nlevel=ERROR msg="forged"`,
		"\r\t\x00\x07":                   `\r\t\x00\a`,
		"\x1b[2J\x1b]0;title\x07":        `\x1b[2J\x1b]0;title\a`,
		"\x7f\u0085\u009b31m":            `\x7f\u0085\u009b31m`,
		"\u202egnp.exe\u2066":            `\u202egnp.exe\u2066`,
		"a\u2028b\u2029c\ufeffd\u00ade":  `a\u2028b\u2029c\ufeffd\u00ade`,
		"\xff\xfe":                       `\xff\xfe`,
		"ok\xc3":                         `ok\xc3`,
		"\U000e0041":                     `\U000e0041`,
		"\ufffd":                         "\ufffd",
	} {
		if got := foreign.Text(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
		if got := foreign.Clean(in); got != (in == want) {
			t.Errorf("%q is clean: %v", in, got)
		}
	}
}

func TestShortTextIsCutBetweenCharacters(t *testing.T) {
	for in, want := range map[string]string{"abc": "abc", "abcdef": "abcd", "\x00\x00": `\x00`, "aaaé": "aaa", "": ""} {
		if got := foreign.Short(in, 4); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestFitTextCostsNothing(t *testing.T) {
	text := strings.Repeat("no such order, größer ", 20)
	if n := testing.AllocsPerRun(100, func() { _ = foreign.Text(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b[2J\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := foreign.Text(s)
		if !utf8.ValidString(got) || !foreign.Clean(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Fatalf("%q becomes %q", s, got)
		}
		if foreign.Text(got) != got {
			t.Fatalf("%q is not fit for itself", got)
		}
	})
}
