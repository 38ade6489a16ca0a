// Package foreign makes untrusted text safe for errors, logs and terminals.
//
// # Overview
//
// A peer chooses the text of its errors, the reason with which it closes a connection, and the
// names in its certificate. Printed unchanged, such text can forge lines of a log, move the
// cursor of a terminal or reverse the order of letters. [Text] is applied once, where the text
// is received; code behind that can use the text as it is.
package foreign

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s with unsafe characters escaped: control characters as in a Go string
// (\n, \x1b), invisible format characters as in \u202e, and bytes that are not UTF-8
// as in \xff. The result is one line. If s has no such characters, Text returns s and
// allocates nothing.
//
// The result is for people: Text does not escape backslashes, so it cannot be undone.
func Text(s string) string {
	i := bad(s)
	if i < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for ; i >= 0; i = bad(s) {
		b.WriteString(s[:i])
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b.WriteString(`\x`)
			b.WriteString(strconv.FormatUint(uint64(s[i])|0x100, 16)[1:])
		} else {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[i+n:]
	}
	b.WriteString(s)
	return b.String()
}

// Short returns Text(s), cut to at most limit bytes. The limit applies after escaping, which
// makes text longer.
func Short(s string, limit int) string {
	if s = Text(s); len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// Clean reports whether s needs no escaping.
func Clean(s string) bool { return bad(s) < 0 }

// bad returns the index of the first unsafe character, or -1.
func bad(s string) int {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || unfit(r) {
			return i
		}
		i += n
	}
	return -1
}

// unfit reports whether a character beyond ASCII is a control character, a line separator or
// a format character. Format characters are invisible, and some reverse the order of text. The
// joiners of emoji and of some scripts are allowed.
func unfit(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return r != joiner && r != nonJoiner && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
