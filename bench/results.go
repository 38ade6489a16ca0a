package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// results are the lines of one session.
type results struct {
	self     string
	ratios   []string
	absolute []string
}

// save merges the lines into the two files in dir. Rows that were not measured
// this time are kept, unless they come from another machine, toolchain or self.
func (b *results) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // results are public
		return err
	}
	facts := append(machineFacts(), "self: "+b.self)
	head := "# " + strings.Join(facts, "\n# ") + "\n"
	date := "# last run: " + time.Now().UTC().Format("2006-01-02 15:04 UTC") + "\n"
	return errors.Join(
		merge(filepath.Join(dir, "results.tsv"), head,
			date+"# row\tpeer\tcalls or deliveries of self / of peer\tp99 of self / p99 of peer\n", b.ratios),
		merge(filepath.Join(dir, "absolute.tsv"), head,
			date+"# row\tpeer\tcalls or deliveries per second\tp50 in microseconds\tp99 in microseconds\tlost in percent (pubsub)\n", b.absolute),
	)
}

// merge writes head, columns and lines to file. If the old file begins with
// head, its lines for other rows and peers are kept.
func merge(file, head, columns string, lines []string) error {
	old, err := os.ReadFile(file) //nolint:gosec // a path the user gave
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	byKey := make(map[string]string)
	if strings.HasPrefix(string(old), head) {
		for line := range strings.Lines(string(old)) {
			if !strings.HasPrefix(line, "#") {
				byKey[key(line)] = strings.TrimSuffix(line, "\n")
			}
		}
	}
	for _, line := range lines {
		byKey[key(line)] = line
	}
	var text strings.Builder
	text.WriteString(head + columns)
	for _, k := range orderedKeys() {
		if line, ok := byKey[k]; ok {
			text.WriteString(line + "\n")
		}
	}
	return os.WriteFile(file, []byte(text.String()), 0o644) //nolint:gosec // results are public
}

// key returns the row and the peer of a line.
func key(line string) string {
	fields := strings.SplitN(line, "\t", 3)
	return strings.Join(fields[:min(2, len(fields))], "\t")
}

// orderedKeys returns every possible key in the order of rows and peers.
func orderedKeys() []string {
	var keys []string
	for _, r := range allRows() {
		for _, name := range r.peers() {
			keys = append(keys, r.name+"\t"+name)
		}
	}
	return slices.Clip(keys)
}
