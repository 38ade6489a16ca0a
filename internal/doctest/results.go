package doctest

import (
	"fmt"
	"strings"
)

// Lines of a page that enclose the table of measurements.
const (
	tableBegin = "<!-- bench: from bench/results.tsv by `go test ./internal/doctest -update` -->\n"
	tableEnd   = "<!-- /bench -->\n"
)

// table is one of the tables. Its rows and peers, the columns, are pairs of a key in the results and a label.
type table struct {
	title string
	rows  [][2]string
	peers [][2]string
}

func tables() []table {
	return []table{
		{
			"unary call",
			[][2]string{
				{"unary/64B/c1", "64 B, 1 call in flight"},
				{"unary/64B/c16", "64 B, 16 in flight"},
				{"unary/64B/c64", "64 B, 64 in flight"},
				{"unary/64B/c256", "64 B, 256 in flight"},
				{"unary/1MiB/c1", "1 MiB, 1 in flight"},
				{"unary/1MiB/c16", "1 MiB, 16 in flight"},
			},
			[][2]string{{"grpc", "gRPC-Go"}, {"rpcx", "rpcx"}, {"quic", "quic-go"}},
		},
		{
			"publish/subscribe",
			[][2]string{
				{"pubsub/64B/1to1", "64 B, 1 subscriber"},
				{"pubsub/64B/1to4", "64 B, 4 subscribers"},
				{"pubsub/64B/1to32", "64 B, 32 subscribers"},
				{"pubsub/1KiB/1to4", "1 KiB, 4 subscribers"},
				{"pubsub/64KiB/1to4", "64 KiB, 4 subscribers"},
			},
			[][2]string{{"nats", "NATS"}, {"mangos", "mangos"}, {"quic", "quic-go"}},
		},
		{
			"pipeline, two workers",
			[][2]string{
				{"pipeline/64B/memory", "64 B, in memory"},
				{"pipeline/64B/durable", "64 B, on disk"},
			},
			[][2]string{{"jetstream", "JetStream"}, {"mangos", "mangos"}},
		},
	}
}

// Table returns the Markdown tables for results, the text of bench/results.tsv.
// A cell that was not measured is "–".
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
	for i, t := range tables() {
		if i > 0 {
			b.WriteString("\n")
		}
		t.write(&b, cells)
	}
	system, _, _ := strings.Cut(facts["system"], ",")
	date, _, _ := strings.Cut(facts["last run"], " ")
	fmt.Fprintf(&b, "\n%s; %s; %s; %s.\n", facts["CPU"], system, facts["Go"], date)
	return b.String(), nil
}

func (t *table) write(b *strings.Builder, cells map[string]string) {
	b.WriteString("| " + t.title + " |")
	for _, peer := range t.peers {
		b.WriteString(" link / " + peer[1] + " |")
	}
	b.WriteString("\n|" + strings.Repeat(" --- |", 1+len(t.peers)) + "\n")
	for _, row := range t.rows {
		b.WriteString("| " + row[1] + " |")
		for _, peer := range t.peers {
			cell, ok := cells[row[0]+" "+peer[0]]
			if !ok {
				cell = "–"
			}
			b.WriteString(" " + cell + " |")
		}
		b.WriteString("\n")
	}
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
