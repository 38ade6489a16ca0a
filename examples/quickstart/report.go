package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// report formats the output of the quickstart.
type report struct{ out io.Writer }

func (r report) line(format string, args ...any) { fmt.Fprintf(r.out, format+"\n", args...) }

// fact prints a name and a value.
func (r report) fact(name, value string) { r.line("   %-18s %s", name, value) }

// table prints rows, the first of which is the header, in aligned columns.
func (r report) table(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			// Columns of numbers are aligned to the right.
			if _, err := strconv.Atoi(strings.ReplaceAll(rows[1][i], ",", "")); err == nil {
				cell = pad + cell
			} else {
				cell += pad
			}
			b.WriteString("   " + cell)
		}
		r.line("%s", strings.TrimRight(b.String(), " "))
	}
}

// number formats n with commas: 12,345.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
