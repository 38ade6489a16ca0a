package doctest

import (
	"fmt"
	"strings"
)

// The lines of a page between which the table of measurements stands.
const (
	tableBegin = "<!-- bench: from bench/results.tsv by `go test ./internal/doctest -update` -->\n"
	tableEnd   = "<!-- /bench -->\n"
)

// tableRows are the rows of the table and what each is called.
func tableRows() [][2]string {
	return [][2]string{
		{"unary/64B/c1", "64 B, 1 call in flight"},
		{"unary/64B/c16", "64 B, 16 in flight"},
		{"unary/64B/c64", "64 B, 64 in flight"},
		{"unary/64B/c256", "64 B, 256 in flight"},
		{"unary/1MiB/c1", "1 MiB, 1 in flight"},
		{"unary/1MiB/c16", "1 MiB, 16 in flight"},
	}
}

// tablePeers are the columns of the table and what each is called.
func tablePeers() [][2]string {
	return [][2]string{{"grpc", "gRPC-Go"}, {"rpcx", "rpcx"}, {"quic", "quic-go"}}
}

// Table returns the Markdown table of what results, the text of
// bench/results.tsv, says. What was not measured is "–".
func Table(results string) (string, error) {
	cells := make(map[string]string)
	facts := make(map[string]string)
	for line := range strings.Lines(results) {
		line = strings.TrimSuffix(line, "\n")
		if comment, ok := strings.CutPrefix(line, "# "); ok {
			if name, value, ok := strings.Cut(comment, ": "); ok {
				facts[name] = value
			}
			continue
		}
		fields := strings.Split(line, "\t")
		if len(fields) != 4 {
			return "", fmt.Errorf("line %q has %d fields, want 4", line, len(fields))
		}
		cells[fields[0]+" "+fields[1]] = fields[2] + " (" + fields[3] + ")"
	}
	var b strings.Builder
	b.WriteString("| unary call |")
	for _, peer := range tablePeers() {
		b.WriteString(" link / " + peer[1] + " |")
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", 1+len(tablePeers())) + "\n")
	for _, row := range tableRows() {
		b.WriteString("| " + row[1] + " |")
		for _, peer := range tablePeers() {
			cell, ok := cells[row[0]+" "+peer[0]]
			if !ok {
				cell = "–"
			}
			b.WriteString(" " + cell + " |")
		}
		b.WriteString("\n")
	}
	system, _, _ := strings.Cut(facts["system"], ",")
	date, _, _ := strings.Cut(facts["last run"], " ")
	fmt.Fprintf(&b, "\n%s; %s; %s; %s.\n", facts["CPU"], system, facts["Go"], date)
	return b.String(), nil
}

// ReplaceTable returns page with table between its two markers.
func ReplaceTable(page, table string) (string, error) {
	before, rest, ok := strings.Cut(page, tableBegin)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !ok || !ended {
		return "", fmt.Errorf("the page has no lines %s and %s", strings.TrimSpace(tableBegin), strings.TrimSpace(tableEnd))
	}
	return before + tableBegin + table + tableEnd + after, nil
}
