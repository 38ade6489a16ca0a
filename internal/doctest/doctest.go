// Package doctest checks the pages of this repository against its code: Go in them
// compiles, commands in them exist, links have targets, the table of measurements has
// the measured values, and the tables of limits have the bounds of the code.
//
// # Usage
//
//	go test ./internal/doctest           # check
//	go test ./internal/doctest -update   # rewrite the table of README.md
//
// # Rules for authors
//
//   - A block marked go that has a package clause is a program and must compile.
//     The first of README.md is the example of package link, example_test.go, and the
//     block after it is what that prints.
//   - A block marked go without a package clause is a fragment and must be text of a
//     .go file of the module, where it is compiled and tested. White space is ignored.
//   - Each line of a block marked sh is "make" with a target of the Makefile, a
//     command that the Makefile runs, or "go get" of this module. Text after " #"
//     is a comment.
//   - Code spans that begin with "make " must name a target, too.
//   - docs/api.md has a section for each package that programs import, with each
//     of its exported names; "Kind…" stands for all that begin with Kind.
//   - A constant of a pattern, or of the log on disk, that is a bound has a row
//     with its value in the tables of docs/design.md.
package doctest

import (
	"fmt"
	"strings"
)

// Block is one fenced block of a page. File is its path relative to the root of the
// module, Line the line of the opening fence, from 1, and Lang the word after that
// fence: "go", "sh" or "". Text is the lines between the fences.
type Block struct {
	File string
	Line int
	Lang string
	Text string
}

// String returns file and line, "README.md:12", for messages.
func (b Block) String() string { return fmt.Sprintf("%s:%d", b.File, b.Line) }

const fence = "```"

// Blocks returns the fenced blocks of a page. It removes the indentation of
// indented blocks. A block that does not end is an error.
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
