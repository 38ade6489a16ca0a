// Package doctest holds the pages of this repository to its code: Go in them
// compiles, commands in them exist, links lead somewhere, the table of measurements
// says what was measured, and those of limits hold the bounds of the code.
//
// # Usage
//
//	go test ./internal/doctest           # check
//	go test ./internal/doctest -update   # write the table of README.md anew
//
// # Rules for authors
//
//   - A block marked go that has a package clause is a program and must compile.
//     The first of README.md is the server and client of example_test.go in the root.
//   - A block marked go without one is a fragment and must be text of a .go file
//     of the module, where it is compiled and tested. White space does not count.
//   - Each line of a block marked sh is "make" with a target of the Makefile, a
//     command that the Makefile runs, or "go get" of this module. Text after " #"
//     is a comment.
//   - Code spans that begin with "make " name a target too.
//   - A constant of a pattern, or of the log on disk, that bounds something has a row
//     in the tables of docs/design.md that says its value.
package doctest

import (
	"fmt"
	"strings"
)

// Block is one fenced block of a page.
type Block struct {
	File string // path from the root of the module
	Line int    // the line of the opening fence, from 1
	Lang string // what follows the opening fence: "go", "sh", ""
	Text string // the lines between the fences
}

// String returns "README.md:12", for messages.
func (b Block) String() string { return fmt.Sprintf("%s:%d", b.File, b.Line) }

const fence = "```"

// Blocks returns the fenced blocks of a page, of which an indented one loses
// its indentation. A block that does not end is an error.
func Blocks(file, page string) ([]Block, error) {
	var blocks []Block
	var open *Block
	indent := ""
	for i, line := range strings.Split(page, "\n") {
		text := strings.TrimLeft(line, " ")
		switch {
		case open == nil && strings.HasPrefix(text, fence):
			indent = line[:len(line)-len(text)]
			open = &Block{File: file, Line: i + 1, Lang: strings.TrimSpace(strings.TrimPrefix(text, fence))}
		case open != nil && strings.TrimSpace(text) == fence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.Text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the block does not end", open)
	}
	return blocks, nil
}

// Program reports whether a Go block is a whole file.
func (b Block) Program() bool { return strings.HasPrefix(b.Text, "package ") }

// Squeeze returns Go text without indentation and empty lines, so that texts
// at different depths compare equal.
func Squeeze(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}
