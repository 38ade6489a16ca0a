package main

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A row is one line of the comparison: a payload size, and either calls in
// flight, or subscribers, or workers.
type row struct {
	name string
	// size is the size of a message in bytes, in each direction of a call or as published.
	size int
	// conc is how many calls are in flight. It is 0 in rows without calls.
	conc int
	// subs is how many subscribers a publisher has. It is 0 in rows without publish/subscribe.
	subs int

	// tasks marks a pipeline row, and durable one whose tasks are kept on disk.
	tasks   bool
	durable bool
}

func (r row) pubsub() bool { return r.subs > 0 }

// unit returns the unit of the row's rate.
func (r row) unit() string {
	switch {
	case r.pubsub():
		return "deliveries/s"
	case r.tasks:
		return "tasks/s"
	}
	return "calls/s"
}

// peers returns the names of the systems that the row compares.
func (r row) peers() []string {
	switch {
	case r.pubsub():
		return namesOf(broadcasters())
	case r.tasks:
		return namesOf(slices.DeleteFunc(dispatchers(), func(d dispatcher) bool { return r.durable && !d.durable() }))
	}
	return namesOf(peers())
}

// allRows returns every row: calls, publish/subscribe and pipelines, smallest first.
func allRows() []row {
	type size struct {
		name  string
		bytes int
	}
	var rows []row
	for _, s := range []size{{"64B", 64}, {"4KiB", 4 << 10}, {"1MiB", 1 << 20}} {
		for _, c := range []int{1, 16, 64, 256} {
			rows = append(rows, row{name: fmt.Sprintf("unary/%s/c%d", s.name, c), size: s.bytes, conc: c})
		}
	}
	for _, s := range []size{{"64B", 64}, {"1KiB", 1 << 10}, {"64KiB", 64 << 10}} {
		for _, n := range []int{1, 4, 32} {
			rows = append(rows, row{name: fmt.Sprintf("pubsub/%s/1to%d", s.name, n), size: s.bytes, subs: n})
		}
	}
	rows = append(rows,
		row{name: "pipeline/64B/memory", size: 64, tasks: true},
		row{name: "pipeline/64B/durable", size: 64, tasks: true, durable: true})
	return rows
}

// selectRows returns the rows whose whole name matches pattern as a glob or as
// a regular expression, or is below it like a file in a folder ("pubsub/64B"
// selects "pubsub/64B/1to1" and so on). An empty pattern selects all rows. It
// is an error if no row matches.
func selectRows(pattern string) ([]row, error) {
	rows := allRows()
	if pattern == "" {
		return rows, nil
	}
	expr, exprErr := regexp.Compile("^(?:" + pattern + ")(?:/.*)?$")
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
