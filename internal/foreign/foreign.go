// Package foreign makes text that others wrote fit for errors, logs and terminals.
//
// # Overview
//
// A peer chooses the text of its errors, the reason with which it closes a connection, and
// what stands in its certificate. Printed as it is, such text can forge lines of a log, move the
// cursor of a terminal or turn the order of letters around. [Text] is applied once, where
// it comes in; what is behind that need not think of it.
package foreign

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s with what would act on a log or a terminal written out: control
// characters as in a Go string (\n, \x1b), characters of format that are not seen
// as \u202e, and bytes that are not UTF-8 as \xff. The result is one line. It is s
// itself, and nothing is allocated, if there is nothing of the sort in it.
//
// It is for people and does not tell a backslash that was there from its own.
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

// Short is Text of no more than limit bytes: what is written out is longer than what it
// stands for.
func Short(s string, limit int) string {
	if s = Text(s); len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}

// Clean reports whether s is fit as it is.
func Clean(s string) bool { return bad(s) < 0 }

// bad returns where the first unfit character is, or -1.
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

// unfit reports whether a character beyond ASCII is a control character, breaks lines, or
// is a format character, which no eye sees and some of which turn text around. The
// joiners of emoji and of some scripts are let through.
func unfit(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return r != joiner && r != nonJoiner && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
