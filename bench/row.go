package main

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// A row is one line of the comparison: a payload size and a concurrency.
type row struct {
	name string
	size int // bytes in each direction
	conc int // calls in flight
}

// allRows is every row, smallest first.
func allRows() []row {
	sizes := []struct {
		name  string
		bytes int
	}{{"64B", 64}, {"4KiB", 4 << 10}, {"1MiB", 1 << 20}}
	var rows []row
	for _, s := range sizes {
		for _, c := range []int{1, 16, 64, 256} {
			rows = append(rows, row{fmt.Sprintf("unary/%s/c%d", s.name, c), s.bytes, c})
		}
	}
	return rows
}

// selectRows returns the rows whose whole name matches pattern as a glob or as
// a regular expression; an empty pattern selects all. None is an error.
func selectRows(pattern string) ([]row, error) {
	rows := allRows()
	if pattern == "" {
		return rows, nil
	}
	expr, exprErr := regexp.Compile("^(?:" + pattern + ")$")
	var selected []row
	for _, r := range rows {
		glob, globErr := path.Match(pattern, r.name)
		if exprErr != nil && globErr != nil {
			return nil, fmt.Errorf("row pattern %q is neither a glob nor a regular expression: %w", pattern, exprErr)
		}
		if glob || exprErr == nil && expr.MatchString(r.name) {
			selected = append(selected, r)
		}
	}
	if len(selected) == 0 {
		names := make([]string, len(rows))
		for i, r := range rows {
			names[i] = r.name
		}
		return nil, fmt.Errorf("no row matches %q; rows are %s", pattern, strings.Join(names, " "))
	}
	return selected, nil
}
